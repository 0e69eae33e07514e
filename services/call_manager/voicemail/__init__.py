"""Voicemail boxes at the Call Manager: their sounds as they are kept, and their mails."""

"""Announcements: a caller hears why a call fails, before the final answer ends it."""

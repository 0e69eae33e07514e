"""Recordings: rtpengine's packet captures become WAV files, are indexed, and expire."""

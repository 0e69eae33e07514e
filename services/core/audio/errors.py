"""What can go wrong with sound.

AudioError
├── CapacityError   no leg or no memory is free
└── ClipError       a sound cannot be read or made
"""

from __future__ import annotations


class AudioError(Exception):
    """The message says what and where."""


class CapacityError(AudioError):
    """There is no more room."""


class ClipError(AudioError):
    """A sound cannot be read or made."""

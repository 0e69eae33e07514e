"""Keeps a message from going on: KEMI's own word for it is not heard where routes.cfg calls Python.

A step says `drop`; kamailio.py asks `wanted` when the step is done and tells Kamailio.
"""

from __future__ import annotations

_wanted = False


def drop() -> None:
    """Let the branch or reply that is looked at now not be sent."""
    global _wanted
    _wanted = True


def wanted() -> bool:
    """Whether a step said `drop` since this was last asked."""
    global _wanted
    was, _wanted = _wanted, False
    return was

"""What the engine says of itself."""

from __future__ import annotations

import msgspec


class About(msgspec.Struct, frozen=True, kw_only=True):
    """``registry`` is its base URL."""

    release: str
    pid: int
    registry: str

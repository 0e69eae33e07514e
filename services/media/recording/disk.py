"""When recording stops for want of room, and what expires: pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

import msgspec

MIB = 1 << 20
RESUME = 1.05
"""Part of the wanted room that must be free before recording goes on, so that it does not flap."""


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """``stopped`` says for people why recording is off; empty while it is on."""

    stopped: str = ""

    def after(self, free: int, min_free: int) -> Room:
        """The state with ``free`` bytes where ``min_free`` MiB are wanted."""
        wanted = min_free * MIB
        if free >= wanted * RESUME or (not self.stopped and free >= wanted):
            return Room()
        return Room(
            stopped=f"recording stopped: {free // MIB} MiB free, {min_free} MiB wanted; calls go on"
        )


def expired(days: Iterable[str], keep: int, today: datetime.date) -> list[str]:
    """Of directories named ``YYYY-MM-DD``, those older than ``keep`` days; none if it is 0."""
    if keep <= 0:
        return []
    oldest = today - datetime.timedelta(days=keep)
    return sorted(day for day in days if (date := _date(day)) is not None and date < oldest)


def _date(name: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(name)
    except ValueError:
        return None

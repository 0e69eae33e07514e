"""Which calls have lost their media for good. Pure: what was seen of rtpengine in, calls out.

A call whose media server is gone is silent, and each phone waits for the other: it has to be ended.
Two things tell it. A server that neither answers nor passes its check for `PATIENCE` does not come
back in time for a conversation; and an rtpengine that has started since a call did knows nothing of
it, however soon it came back. rtpengine keeps its sessions in its own memory alone, and the media
time-out that would end them died with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from services.call_manager.calls import Call

PATIENCE = 20.0
MARGIN = 2.0
"""Seconds: rtpengine tells its uptime in whole ones."""
AGAIN = 30.0
"""Seconds until a call is ended once more: a BYE that nobody answers takes its time."""
REASON = "media"


class Lost(msgspec.Struct, frozen=True):
    """``certain``: nobody is there to be asked. Otherwise ask the server whether it has the call: a
    phone's offer since may have set up its media anew."""

    call: str
    server: str
    certain: bool


class Outages:
    """Media servers as their control ports showed them. Times are Unix times."""

    def __init__(self) -> None:
        self._silent_since: dict[str, float] = {}
        self._started: dict[str, float] = {}
        self._kept: set[str] = set()
        self._ended: dict[str, float] = {}

    def see(self, server: str, uptime: float | None, now: float) -> None:
        """rtpengine said that it runs for ``uptime`` seconds; None: it said nothing."""
        if uptime is None:
            self._silent_since.setdefault(server, now)
            return
        self._silent_since.pop(server, None)
        started = now - uptime
        if started > self._started.get(server, started) + MARGIN:
            # What it was asked about before its start says nothing now.
            self._kept.clear()
        self._started[server] = started

    def silent(self, server: str, now: float) -> float:
        """Seconds for which a server has said nothing; 0 for one that answers."""
        return now - self._silent_since.get(server, now)

    def started(self, server: str) -> float:
        """Since when its rtpengine runs; 0 where that is not known."""
        return self._started.get(server, 0.0)

    def has(self, call: str) -> bool:
        """Whether its server was asked about a call, and has it."""
        return call in self._kept

    def keep(self, call: str) -> None:
        """The call was asked about, and its server has it."""
        self._kept.add(call)

    def ended(self, call: str, now: float) -> None:
        """The call was ended; its event will come."""
        self._ended[call] = now

    def lost(self, calls: Iterable[Call], passing: Collection[str], now: float) -> list[Lost]:
        """Calls that are up without media. ``passing`` are servers whose own check passes."""
        found: list[Lost] = []
        seen: set[str] = set()
        for call in calls:
            name, call_id = call.media, call.started.call
            seen.add(call_id)
            if not name or now < self._ended.get(call_id, float("-inf")) + AGAIN:
                continue
            if name in self._silent_since:
                over = now >= self._silent_since[name] + PATIENCE
                if over and name not in passing:
                    found.append(Lost(call_id, name, True))
            elif call.since < self._started.get(name, 0.0) - MARGIN and call_id not in self._kept:
                found.append(Lost(call_id, name, False))
        self._kept &= seen
        self._ended = {call_id: at for call_id, at in self._ended.items() if call_id in seen}
        return found

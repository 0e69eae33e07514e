"""Whose calls are to be gone on with now, and which of them here. Pure; times of one clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import msgspec

from services.core.succession.shares import successor

LEFTOVERS = 1.0
"""Seconds after which anybody takes what is still there: whose share it was has died too, or sees
other servers than we do."""
UNREGISTERED = 15.0
"""Seconds that the registry must not have known a server before it is believed gone: it may have
come back empty, and is told again of everybody within this time."""

EstateState = Literal["open", "left"]
"""``left``: its server has handed its calls over."""


class Estate(msgspec.Struct, frozen=True, order=True):
    """The calls of one life of a server; ``boot`` tells its lives apart."""

    server: str
    boot: str

    @property
    def name(self) -> str:
        """``<server>/<boot>``."""
        return f"{self.server}/{self.boot}"


class Due(msgspec.Struct, frozen=True):
    """Take this server's share of ``estate``, or with ``whole`` all that is there."""

    estate: Estate
    whole: bool


class Inheritance:
    """What ``me``, a server's name, sees of the estates of its role."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._orphaned: dict[Estate, float] = {}
        self._unknown: dict[Estate, float] = {}

    def due(
        self,
        estates: Mapping[Estate, EstateState],
        own: Estate,
        registered: Collection[str],
        missing: Collection[str],
        now: float,
    ) -> list[Due]:
        """The estates that nobody works for any more; ``own`` is the one of this life.

        ``missing`` are servers that have lost their lease (`Opinions.missing`). What they had then
        is orphaned for good; what they begin when they are back is another estate.
        """
        orphaned: dict[Estate, float] = {}
        unknown: dict[Estate, float] = {}
        found: list[Due] = []
        for estate, state in sorted(estates.items()):
            if estate == own:
                continue
            if estate.server not in registered:
                unknown[estate] = self._unknown.get(estate, now)
            gone = now >= unknown.get(estate, now) + UNREGISTERED
            mine = estate.server == self._me  # an earlier life
            left = mine or state == "left" or estate.server in missing or gone
            if left or estate in self._orphaned:
                since = orphaned[estate] = self._orphaned.get(estate, now)
                found.append(Due(estate, whole=mine or now >= since + LEFTOVERS))
        self._orphaned, self._unknown = orphaned, unknown
        return found

    def share(self, due: Due, calls: Iterable[str], servers: Collection[str]) -> list[str]:
        """Which of an estate's ``calls`` are to be taken here; ``servers`` are the candidates."""
        if self._me not in servers:
            return []
        if due.whole:
            return list(calls)
        # Who has handed its calls over may be registered for a moment still.
        heirs = set(servers) - {due.estate.server}
        return [call for call in calls if successor(call, heirs) == self._me]

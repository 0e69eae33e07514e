"""What managers have granted this process, by session: pure. Times are seconds of one clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from services.core.failover.timing import LEASE, REFUSED

ANY = ""
"""The lease that every ack extends: somebody probes this server."""


class Lease:
    """``needed`` grants of ``managers`` hold a session; with 0 everything is held for ever."""

    def __init__(self, managers: Iterable[str], needed: int) -> None:
        self._managers = frozenset(managers)
        self._needed = needed
        self._granted: dict[str, dict[str, float]] = {}
        self._refused: dict[tuple[str, str], float] = {}

    def ack(
        self, manager: str, stamp: float, granted: Collection[str], claims: Iterable[str]
    ) -> None:
        """``manager`` answers what we sent at ``stamp``; ``claims`` are what we claim."""
        if manager not in self._managers:
            return
        for session in (ANY, *claims):
            if session == ANY or session in granted:
                by = self._granted.setdefault(session, {})
                by[manager] = max(by.get(manager, stamp), stamp + LEASE)
                self._refused.pop((session, manager), None)
            else:
                self._refused.setdefault((session, manager), stamp)

    def until(self, session: str) -> float:
        """When the session's lease ends if nothing more is granted."""
        if self._needed <= 0:
            return float("inf")
        ends = sorted(self._granted.get(session, {}).values(), reverse=True)
        return ends[self._needed - 1] if len(ends) >= self._needed else float("-inf")

    def refused(self, session: str, now: float) -> bool:
        """Whether some manager has answered without granting it, for long."""
        return any(
            one == session and now >= since + REFUSED for (one, _), since in self._refused.items()
        )

    def forget(self, claims: Collection[str]) -> None:
        """Drop what is remembered of sessions other than ``claims``."""
        for session in [one for one in self._granted if one != ANY and one not in claims]:
            del self._granted[session]
        for session, manager in [one for one in self._refused if one[0] not in claims]:
            del self._refused[session, manager]

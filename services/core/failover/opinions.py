"""Who is down, as one who is probed hears it from the managers: pure. Times are of one clock.

A manager acknowledges what we stamped, so its opinion is younger than our stamp and older than the
ack's arrival. When a quorum of managers had not heard a server through one common span that is
longer than a lease, whatever lease that server had was over at the end of the span: it has fenced
itself before anybody says that it is down. That is more than `Detection` asks, which needs to know
only where not to send new calls.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from services.core.failover.timing import BACK, OPINION, OVERLAP, SUSPECT


class _Silence(msgspec.Struct):
    """Opinions of one manager on end: when the first came, and when the last was asked for."""

    first: float
    last: float


class _Manager(msgspec.Struct):
    asked: float
    missed: dict[str, _Silence]


class Opinions:
    """``quorum`` opinions of one time make a member (``<role>/<server>``) down."""

    def __init__(self, quorum: int) -> None:
        self._quorum = quorum
        self._managers: dict[str, _Manager] = {}
        self._down: dict[str, float] = {}

    def heard(self, manager: str, down: Iterable[str], asked: float, now: float) -> None:
        """``manager`` acknowledges at ``now`` what we sent at ``asked``, and misses ``down``."""
        known = self._managers.get(manager)
        if known is not None and asked <= known.asked:
            return
        missed: dict[str, _Silence] = {}
        for member in down:
            before = known.missed.get(member) if known is not None else None
            # Whoever was heard in between is missed again after SUSPECT seconds at the earliest.
            if before is not None and now < before.last + SUSPECT:
                missed[member] = _Silence(before.first, asked)
            else:
                missed[member] = _Silence(now, asked)
        self._managers[manager] = _Manager(asked, missed)

    def missing(self, now: float) -> frozenset[str]:
        """The members whose lease was over a moment ago, at the latest.

        What they had before is theirs no more, though they may be back by now.
        """
        current = self._current(now)
        named = {member for one in current for member in one.missed}
        return frozenset(
            member
            for member in named
            if self._agreed([one.missed[member] for one in current if member in one.missed])
        )

    def down(self, now: float) -> frozenset[str]:
        """The members that are missing, or were and have not been well for `BACK` seconds.

        While fewer managers than a quorum say anything, nobody goes down or comes back. To be
        asked whenever something was heard.
        """
        current = self._current(now)
        named = {member for one in current for member in one.missed}
        enough = len(current) >= self._quorum
        for member in list(self._down):
            if member in named or not enough:
                self._down[member] = now
            elif now >= self._down[member] + BACK:
                del self._down[member]
        self._down.update(dict.fromkeys(self.missing(now), now))
        return frozenset(self._down)

    def _current(self, now: float) -> list[_Manager]:
        return [one for one in self._managers.values() if one.asked > now - OPINION]

    def _agreed(self, silences: list[_Silence]) -> bool:
        """Whether enough of them share a span of more than `OVERLAP` seconds.

        Each reaches from SUSPECT before its first opinion came to what its last one answers.
        """
        for begin in (one.first - SUSPECT for one in silences):
            through = [
                one
                for one in silences
                if one.first - SUSPECT <= begin and one.last >= begin + OVERLAP
            ]
            if len(through) >= self._quorum:
                return True
        return False

"""Who may hold a name: the candidate's side, pure. Times are seconds of one clock.

The registry's key says under which session (``epoch``) a name is held, and stays when the session
ends. Holding takes two things: that the key says one of the sessions that this process claims, and
a lease on that session. A candidate takes a name over only when nobody can have both any more: it
was never held, its holder has let go, its holder was an earlier life of this process, or a quorum
of managers suspect the session, which they check when they grant leases (`suspicion.py`).

Every transaction names the index of the key that it was decided by, so an old picture does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from services.core.failover.suspicion import Hold
from services.core.failover.timing import PROBE, SETTLED, SHY
from services.core.failover.wire import Claim

PAUSE = 0.05
"""Seconds after a transaction that failed."""
REOPEN = 0.5
"""Seconds after a session that could not be made: the service's check may not pass yet."""
MISSED = 2.0
"""Seconds for which a key that somebody deleted is left alone: longer than any lease."""


class Open(msgspec.Struct, frozen=True):
    """Create a session; answer with `Election.opened`."""


class Close(msgspec.Struct, frozen=True):
    """Destroy a session; needs no answer."""

    session: str


class Take(msgspec.Struct, frozen=True, kw_only=True):
    """Lock the key for ``session``, in one transaction; answer with `Election.took`.

    ``over`` is what it has to be now (None: no key), ``suspecting`` the managers whose suspicions
    of its epoch have to be there.
    """

    session: str
    over: Hold | None
    suspecting: tuple[str, ...] = ()


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """Mark ``hold`` as released and unlock it, in one transaction; answer with `released`."""

    hold: Hold
    successor: str = ""


class Keep(msgspec.Struct, frozen=True):
    """The addresses are to be here until ``until``, unless this is said again."""

    until: float


class Drop(msgspec.Struct, frozen=True):
    """The addresses must not be here; answer with `Election.dropped` when they are not."""


Command = Open | Close | Take | Release | Keep | Drop


class Election:
    """One name, one candidate. ``me`` is ``<role>/<server>``; ``quorum`` suspicions free a name."""

    def __init__(self, me: str, quorum: int) -> None:
        self._me = me
        self._server = me.rpartition("/")[2]
        self._quorum = quorum
        self._hold: Hold | None = None
        self._was_there = False
        self._suspected: tuple[str, tuple[str, ...]] = ("", ())
        self._held: Claim | None = None
        self._spare: Claim | None = None
        self._pending: tuple[str, int] | None = None
        self._busy = False
        self._up = True  # an earlier life may have left addresses behind
        self._leaving = False
        self._successor = ""
        self._free_since: float | None = None
        self._eligible_since: float | None = None
        self._not_before = float("-inf")
        self._open_after = float("-inf")
        self._shy_until = float("-inf")

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What to claim in answers to probes. A claim that is given up never comes back."""
        return tuple(claim for claim in (self._held, self._spare) if claim is not None)

    @property
    def hold(self) -> Hold | None:
        """The key as it was last seen."""
        return self._hold

    @property
    def holds(self) -> bool:
        """Whether the key says this process; a lease is needed besides."""
        return self._held is not None

    def see(self, hold: Hold | None, now: float) -> list[Command]:
        """The key, or that there is none. Older than what is known it is not taken."""
        before = self._hold
        if hold is None:
            if before is not None or self._free_since is None:
                self._free_since = now
        elif before is not None and hold.index <= before.index:
            return []
        self._hold = hold
        self._was_there = self._was_there or hold is not None
        found: list[Command] = []
        epoch = hold.epoch if hold is not None and not hold.released else ""
        if hold is not None and (before is None or before.epoch != hold.epoch or hold.released):
            self._free_since = now if hold.released else None
        if epoch and hold is not None and hold.member != self._me:
            # Another has it, as was wanted: if that one fails, it is a failure like any other.
            self._shy_until = float("-inf")
        if self._pending is not None and (hold is None or hold.index > self._pending[1]):
            self._pending = None
        if self._held is not None and epoch != self._held.session:
            found.append(Close(self._held.session))
            self._held = None
            self._leaving, self._successor = False, ""
        if self._spare is not None and epoch == self._spare.session:
            self._held, self._spare = self._spare, None
        return found

    def suspect(self, epoch: str, managers: Collection[str], now: float) -> None:
        """The managers whose suspicions of ``epoch`` are in the registry."""
        self._suspected = (epoch, tuple(sorted(managers)))
        hold = self._hold
        if hold is not None and hold.epoch == epoch and not hold.released:
            if len(self._suspected[1]) < self._quorum:
                self._free_since = None
            elif self._free_since is None:
                self._free_since = now

    def opened(self, claim: Claim | None, now: float) -> None:
        """The session that `Open` made, or None."""
        self._busy = False
        if claim is None:
            self._open_after = now + REOPEN
        else:
            self._spare = claim

    def ended(self, session: str) -> None:
        """The registry's leader says that this session is over: nothing can be locked by it."""
        if self._spare is not None and self._spare.session == session:
            self._spare = None
            if self._pending is not None and self._pending[0] == session:
                self._pending = None

    def took(self, take: Take, hold: Hold | None, now: float, *, unknown: bool = False) -> None:
        """How `Take` ended: the new key, or None; ``unknown``: it may be carried out yet."""
        self._busy = False
        if hold is not None:
            self.see(hold, now)
            return
        self._not_before = now + PAUSE
        if not unknown and self._pending is not None and self._pending[0] == take.session:
            self._pending = None

    def released(self, hold: Hold | None, now: float) -> None:
        """How `Release` ended: the new key, or None where that is not known."""
        self._busy = False
        if hold is not None:
            self.see(hold, now)
        else:
            self._not_before = now + PAUSE

    def dropped(self) -> None:
        """The addresses are not here."""
        self._up = False

    def hand_over(self, to: str) -> None:
        """Let go as soon as the addresses are gone, for server ``to`` or for all (empty)."""
        if self._held is not None:
            self._leaving, self._successor = True, to

    def decide(
        self,
        now: float,
        *,
        until: Callable[[str], float],
        refused: Callable[[str], bool],
        eligible: bool,
        reluctance: float = 0.0,
    ) -> list[Command]:
        """What to do now. ``until`` and ``refused`` are the lease's; the rest is `Floating`'s."""
        if not eligible:
            self._eligible_since = None
        elif self._eligible_since is None:
            self._eligible_since = now
        found = self._addresses(now, until, eligible)
        found += self._sessions(now, refused, eligible)
        if self._busy or now < self._not_before:
            return found
        command = self._let_go(now, eligible) or self._take(now, until, eligible, reluctance)
        if command is not None:
            self._busy = True
            found.append(command)
        return found

    def _lease(self, until: Callable[[str], float]) -> float:
        """Until when it may be held. While we change sessions both must be ours."""
        if self._held is None or self._leaving:
            return float("-inf")
        end = until(self._held.session)
        if self._pending is not None:
            end = min(end, until(self._pending[0]))
        return end

    def _addresses(
        self, now: float, until: Callable[[str], float], eligible: bool
    ) -> list[Command]:
        if self._held is not None and not eligible:
            self._leaving = True
        end = self._lease(until)
        if end > now:
            self._up = True
            return [Keep(end)]
        return [Drop()] if self._up else []

    def _sessions(
        self, now: float, refused: Callable[[str], bool], eligible: bool
    ) -> list[Command]:
        """A candidate has a session ready, so that a take-over is one write and has its lease."""
        found: list[Command] = []
        spare = self._spare
        idle = not self._busy and self._pending is None
        if spare is not None and idle and (not eligible or refused(spare.session)):
            found.append(Close(spare.session))
            self._spare = None
        if eligible and self._spare is None and not self._busy and now >= self._open_after:
            self._busy = True
            found.append(Open())
        return found

    def _let_go(self, now: float, eligible: bool) -> Command | None:
        hold = self._hold
        if hold is None or hold.released or self._up:
            return None
        if self._held is not None and self._leaving:
            successor = self._successor
            self._held = None
            self._leaving, self._successor = False, ""
            self._shy_until = now + SHY
            return Release(hold=hold, successor=successor)
        # An earlier life's, or a release of which no answer came.
        mine = hold.member == self._me and self._held is None and self._pending is None
        if mine and (not eligible or now < self._shy_until):
            return Release(hold=hold)
        return None

    def _take(
        self, now: float, until: Callable[[str], float], eligible: bool, reluctance: float
    ) -> Command | None:
        spare = self._spare
        if spare is None or not eligible or self._leaving:
            return None
        hold = self._hold
        if self._held is not None:
            # Ours, but the lock is free because its session ended: lock it again.
            if hold is None or hold.session or until(spare.session) < now + PROBE:
                return None
            return self._taking(spare, hold, ())
        if self._eligible_since is None or now < self._eligible_since + SETTLED:
            return None
        if now < self._shy_until or until(spare.session) <= now:
            return None
        suspecting = self._free(now, reluctance)
        return None if suspecting is None else self._taking(spare, hold, suspecting)

    def _taking(self, spare: Claim, hold: Hold | None, suspecting: tuple[str, ...]) -> Command:
        self._pending = (spare.session, hold.index if hold is not None else 0)
        return Take(session=spare.session, over=hold, suspecting=suspecting)

    def _free(self, now: float, reluctance: float) -> tuple[str, ...] | None:
        """The suspicions by which it may be taken now, () where none are needed; None: it may not.

        ``reluctance`` counts from when it became free.
        """
        hold = self._hold
        if hold is not None and hold.member == self._me and not hold.released:
            return ()
        since = self._free_since
        if since is None:
            return None
        if hold is None:
            late = MISSED if self._was_there else 0.0
            return () if now >= since + late + reluctance else None
        if hold.released:
            if hold.successor == self._server:
                return ()
            late = SHY if hold.successor else 0.0
            return () if now >= since + late + reluctance else None
        epoch, managers = self._suspected
        if epoch != hold.epoch or len(managers) < self._quorum:
            return None
        return managers if now >= since + reluctance else None

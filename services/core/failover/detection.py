"""Who answers a manager's probes and who is down: pure. Times are seconds of one clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from services.core.failover.timing import BACK, MISSES, OPINION, PAUSED, PROBE, SUSPECT

REMEMBERED = 16
"""Probes of one server that may still be answered."""


class Silence:
    """How long something has not been heard, and how many probes it had the chance to answer."""

    __slots__ = ("heard", "probes")

    def __init__(self, now: float) -> None:
        self.heard = now
        self.probes = 0

    def broken(self, now: float) -> None:
        """It was heard, or nobody listened."""
        self.heard, self.probes = now, 0

    def long(self, now: float) -> bool:
        """Whether it is long enough for a suspicion."""
        return self.probes >= MISSES and now >= self.heard + SUSPECT


class _Target:
    def __init__(self, now: float) -> None:
        self.silence = Silence(now)
        self.claims: dict[str, Silence] = {}
        self.open: dict[int, float] = {}
        self.answers_since: float | None = None
        self.due = now
        self.down = False


class Detection:
    """One manager's view. ``me`` is its server's name; ``quorum`` opinions make a member down."""

    def __init__(self, me: str, quorum: int) -> None:
        self._me = me
        self._quorum = quorum
        self._targets: dict[str, _Target] = {}
        self._opinions: dict[str, tuple[float, frozenset[str]]] = {}
        self._sequence = 0
        self._ticked: float | None = None

    def probe(self, members: Collection[str], now: float) -> None:
        """Probe these from now on, and nobody else."""
        for member in self._targets.keys() - set(members):
            del self._targets[member]
        for member in members:
            if member not in self._targets:
                self._targets[member] = _Target(now)

    def watch(self, sessions: Iterable[tuple[str, str]], now: float) -> None:
        """Listen for claims of these (member, session) and of no others."""
        wanted: dict[str, set[str]] = {}
        for member, session in sessions:
            wanted.setdefault(member, set()).add(session)
        for member, target in self._targets.items():
            sought = wanted.get(member, set())
            for session in target.claims.keys() - sought:
                del target.claims[session]
            for session in sought - target.claims.keys():
                target.claims[session] = Silence(now)

    def tick(self, now: float) -> list[tuple[str, int]]:
        """(member, sequence) of the probes to send now."""
        if self._ticked is not None and now > self._ticked + PAUSED:
            # Answers may be waiting unread: what was silent then was us.
            for target in self._targets.values():
                for silence in (target.silence, *target.claims.values()):
                    silence.broken(now)
        self._ticked = now
        sent: list[tuple[str, int]] = []
        for member, target in self._targets.items():
            if now < target.due:
                continue
            target.due = max(target.due + PROBE, now + PROBE / 2)
            self._sequence += 1
            target.open[self._sequence] = now
            while len(target.open) > REMEMBERED:
                del target.open[next(iter(target.open))]
            for silence in (target.silence, *target.claims.values()):
                silence.probes += 1
            sent.append((member, self._sequence))
        self._judge(now)
        return sent

    def answered(self, member: str, sequence: int, claims: Collection[str], now: float) -> bool:
        """Take an answer; False if it is to no open probe."""
        target = self._targets.get(member)
        if target is None or target.open.pop(sequence, None) is None:
            return False
        target.silence.broken(now)
        if target.answers_since is None:
            target.answers_since = now
        for session in claims:
            if session in target.claims:
                target.claims[session].broken(now)
        return True

    def silent(self, member: str, session: str, now: float) -> bool:
        """Whether ``member`` has not claimed ``session`` for long enough to suspect it.

        A member that is not probed is not known to be silent.
        """
        target = self._targets.get(member)
        found = target.claims.get(session) if target is not None else None
        return found is not None and found.long(now)

    def claimed(self, member: str, session: str, now: float) -> bool:
        """Whether ``member`` has claimed ``session`` in answer to one of the last two probes."""
        target = self._targets.get(member)
        found = target.claims.get(session) if target is not None else None
        return found is not None and found.heard > now - 2 * PROBE and found.probes <= 1

    def missed(self, now: float) -> tuple[str, ...]:
        """The members that do not answer, this manager's own opinion."""
        return tuple(sorted(name for name, one in self._targets.items() if one.silence.long(now)))

    def heard(self, manager: str, down: Iterable[str], now: float) -> None:
        """Another manager's opinion."""
        self._opinions[manager] = (now, frozenset(down))

    @property
    def down(self) -> frozenset[str]:
        """The members that a quorum of managers misses, or missed and that are not back yet."""
        return frozenset(name for name, target in self._targets.items() if target.down)

    def _judge(self, now: float) -> None:
        current = [down for at, down in self._opinions.values() if at > now - OPINION]
        for name, target in self._targets.items():
            missing = target.silence.long(now)
            if missing:
                target.answers_since = None
            votes = missing + sum(name in down for down in current)
            if votes >= self._quorum:
                target.down = True
            elif target.down and target.answers_since is not None:
                target.down = now < target.answers_since + BACK

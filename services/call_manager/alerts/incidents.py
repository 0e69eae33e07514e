"""What failed, since when, and who has been told: pure.

Every Call Manager looks on; the VIP's holder alone decides. What it decides is a `Step`: records of
the registry to write, each only where it is as it was read, and with them the mail that they call
for, in one transaction. So a mail is made exactly once, whoever holds the VIP when.

One failure makes one mail, its end another. Who is ill again before it was well for long enough has
not ended to be ill; who has failed `FLAPS` times within `WINDOW` is said to be flapping, and has to
be well for `STEADY` before anything more is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from services.core.configuration import Document

WELL_FOR = 30.0
"""Seconds of being well after which a failure is over."""
STEADY = 600.0
"""The same for what is flapping."""
FLAPS = 3
WINDOW = 1800.0
"""Seconds within which `FLAPS` failures are flapping."""
GATHER = 2.0
"""Seconds that a mail waits for other failures: a host that dies takes several roles with it."""
STARTING = 60.0
"""Seconds that something has to get well for the first time, or to come back from a restart."""
GONE = 60.0
"""Seconds after which what is not seen any more has left."""
KEEP = 86_400.0
"""Seconds that a failure which is over is shown."""
TOGETHER = 20
"""Failures of one mail at most."""
REMEMBERED = 20
APART = 5.0
"""Seconds between two failures that two Call Managers' clocks tell apart."""

Condition = Literal["well", "ill", "off", "unknown"]
End = Literal["", "well", "left", "switched"]


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """How something is now. ``off``: out of service by an administrator's wish; ``unknown``: who
    would know does not answer.

    ``patience`` is how many seconds it may be ill before that is a failure.
    """

    condition: Condition
    reason: str = ""
    patience: float = 1.0


class Incident(Document, frozen=True, kw_only=True):
    """One failure, as the registry keeps it. Times are Unix times, 0 for not yet.

    ``key`` says what failed: ``server/<role>/<name>``, ``trouble/<role>/<name>``,
    ``trunk/<name>`` or ``database``. ``failures`` are when it began to be ill, of late and now.
    ``told`` and ``end_told``: the mail about it, and about its end, has been made.
    """

    key: str
    id: str
    since: float
    reason: str
    failures: tuple[float, ...]
    ended: float = 0.0
    end: End = ""
    told: bool = False
    end_told: bool = False

    @property
    def flapping(self) -> bool:
        """Whether it fails too often for a mail each time."""
        return len(self.failures) >= FLAPS

    @property
    def untold(self) -> bool:
        """Whether a mail about its end is due, but not made."""
        return self.end in ("well", "left") and not self.end_told


class Kept(msgspec.Struct, frozen=True):
    """An incident and its entry's index in the registry."""

    incident: Incident
    index: int


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """``records`` to write, ``forget`` to remove; ``mail`` says what about, if one is to be made.

    Every record is written only where the registry's has the index that `Kept` has, 0 for none.
    """

    records: tuple[Incident, ...] = ()
    forget: str = ""
    mail: Literal["", "failed", "over"] = ""


class _Track:
    """One thing as it was seen from here. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self.condition: Condition | None = None
        self.began = now
        self.not_well = now
        self.seen = now
        self.proven = False
        self.relapse: float | None = None
        self.reason = ""
        self.patience = 0.0

    def see(self, found: Observation, now: float) -> None:
        self.seen = now
        if found.condition == "unknown":
            self.miss(now)
            return
        self.reason = found.reason or self.reason
        self.patience = found.patience
        if found.condition != self.condition:
            if found.condition == "ill" and self.condition == "well":
                self.relapse = now
            if self.condition == "well":
                self.not_well = now
            self.condition, self.began = found.condition, now
        if found.condition != "ill":
            self.proven, self.not_well = found.condition == "well", now

    def miss(self, now: float) -> None:
        # Told of no more: stopped, or about to start anew. Then it has time to get well.
        if self.condition is not None:
            self.condition, self.began, self.proven = None, now, False

    def failing(self, now: float) -> bool:
        """Whether it has been ill for so long that it is a failure."""
        if self.condition != "ill" or now < self.began + self.patience:
            return False
        return self.proven or now >= self.not_well + STARTING


class Incidents:
    """``well_for`` is `WELL_FOR` or what the spec says."""

    def __init__(self, now: float, *, well_for: float = WELL_FOR) -> None:
        self.well_for = well_for
        self._began = now
        self._tracks: dict[str, _Track] = {}
        self._waiting: dict[str, float] = {}

    def see(self, observed: Mapping[str, Observation], now: float) -> None:
        """What is seen now, all of it."""
        for key, found in observed.items():
            self._tracks.setdefault(key, _Track(now)).see(found, now)
        for key in self._tracks.keys() - observed.keys():
            track = self._tracks[key]
            track.miss(now)
            if now >= track.seen + GONE:
                del self._tracks[key]

    def decide(
        self, known: Mapping[str, Kept], now: float, wall: float, new_id: str
    ) -> Step | None:
        """The next thing to do, by the registry's picture; None if there is nothing.

        ``wall`` is Unix time, ``new_id`` names an incident that begins by it. When the step is
        done, or was refused, this is asked again with the registry's new picture.
        """
        incidents = [kept.incident for kept in known.values()]
        for mail, due in (
            ("failed", [one for one in incidents if not one.told]),
            ("over", [one for one in incidents if one.told and one.untold]),
        ):
            if self._gathered(mail, due, now):
                changed = {"told": True} if mail == "failed" else {"end_told": True}
                records = [msgspec.structs.replace(one, **changed) for one in due[:TOGETHER]]
                return Step(records=tuple(records), mail="failed" if mail == "failed" else "over")
        for one in incidents:
            step = self._go_on(one, now, wall)
            if step is not None:
                return step
        for key, track in self._tracks.items():
            kept = known.get(key)
            before = kept.incident if kept is not None else None
            if before is not None and (not before.ended or before.untold):
                continue
            if track.failing(now):
                return Step(records=(_opened(key, track, before, now, wall, new_id),))
        return None

    def _gathered(self, mail: str, due: Sequence[Incident], now: float) -> bool:
        if not due:
            self._waiting.pop(mail, None)
            return False
        if now < self._waiting.setdefault(mail, now) + GATHER:
            return False
        del self._waiting[mail]
        return True

    def _go_on(self, one: Incident, now: float, wall: float) -> Step | None:
        track = self._tracks.get(one.key)
        if one.ended:
            old = wall >= one.ended + KEEP and not one.untold
            return Step(forget=one.key) if old else None
        if track is None:
            # One who has just begun to look does not know yet what there is.
            left = now >= self._began + GONE
            return _closed(one, "left", wall) if left else None
        if track.condition == "off":
            return _closed(one, "switched", wall)
        relapse, track.relapse = track.relapse, None
        if relapse is not None:
            at = wall - (now - relapse)
            if at > one.failures[-1] + APART:
                failures = _failures((*one.failures, at))
                return Step(records=(msgspec.structs.replace(one, failures=failures),))
        steady = STEADY if one.flapping else self.well_for
        if track.condition == "well" and now >= track.began + steady:
            return _closed(one, "well", wall)
        return None


def _opened(
    key: str, track: _Track, before: Incident | None, now: float, wall: float, new_id: str
) -> Incident:
    track.relapse = None
    since = wall - (now - track.began)
    earlier = before.failures if before is not None and before.end != "switched" else ()
    return Incident(
        key=key,
        id=new_id,
        since=since,
        reason=track.reason,
        failures=_failures((*earlier, since)),
    )


def _closed(one: Incident, end: End, wall: float) -> Step:
    return Step(records=(msgspec.structs.replace(one, ended=wall, end=end),))


def _failures(found: tuple[float, ...]) -> tuple[float, ...]:
    """Those within `WINDOW` of the last."""
    return tuple(at for at in found if at > found[-1] - WINDOW)[-REMEMBERED:]

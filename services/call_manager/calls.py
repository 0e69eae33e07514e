"""The calls that are up, and records of those that ended, made of events alone. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from services.core.events import Answered, Ended, Event, Moved, Ringing, Started, end_id
from services.core.store.calls import CallRecord

PATIENCE = 5.0
"""Seconds that a call's end waits for its start, which may be in another worker's file."""
UNAVAILABLE = 480
"""What a caller is told whose call is ended from here while it rings."""
REMEMBERED = 20_000
"""Ended calls of which a second end, or a late answer, is known as such."""


Later = Ringing | Answered | Moved | Ended
"""What may be told of a call that has started."""


class Call(msgspec.Struct, kw_only=True):
    """A call that is up: its start, and its answer if it came; before that, what rings now.

    ``moved`` says where its media were led last, ``turn`` how often that was begun.
    """

    started: Started
    answered: Answered | None = None
    ringing: Ringing | None = None
    moved: Moved | None = None
    turn: int = 0

    @property
    def last(self) -> Started | Ringing | Answered:
        """The last that was told of it."""
        return self.answered or self.ringing or self.started

    @property
    def owner(self) -> tuple[str, str]:
        """The Call Manager that has it, and the term in which it took it."""
        return self.last.server, self.last.term

    @property
    def held(self) -> tuple[str, ...]:
        """The counters that it holds."""
        if self.answered is None or self.moved is None:
            return self.last.held
        there = f"m:{self.moved.media}"
        return (*(key for key in self.last.held if not key.startswith("m:")), there)

    @property
    def reached(self) -> Answered | None:
        """The answer, with how the parties are reached now; None before there is one."""
        if self.answered is None or self.moved is None:
            return self.answered
        moved = self.moved
        return msgspec.structs.replace(
            self.answered, media=moved.media, caller=moved.caller, callee=moved.callee
        )

    @property
    def end_id(self) -> str:
        """The id that its `Ended` will have; "" where too little is known of it."""
        started = self.started
        if not started.tag:
            return ""
        return end_id(started.call, started.tag, "" if self.answered else started.cseq)

    @property
    def media(self) -> str:
        """Name of the media server that it is on, or ""."""
        if self.moved is not None:
            return self.moved.media
        # The first choice may have been lost while it rang.
        return (self.answered.media if self.answered else "") or self.started.media

    @property
    def since(self) -> float:
        """When its media were last set up, as far as is told."""
        if self.moved is not None:
            return self.moved.time
        return self.answered.time if self.answered else self.started.time


class Calls:
    """Events in, finished calls out; in between, what is up.

    Events may come twice and in any order: a call's are in several files, and with several Call
    Managers at several of them. ``own`` is this one; of an end that another has told, and of whose
    call nothing is known, it makes no record.
    """

    def __init__(self, own: str = "") -> None:
        self._own = own
        self.up: dict[str, Call] = {}
        self.changes = 0
        self.answered_total = 0
        self.failed_total = 0
        self._early: dict[str, tuple[float, list[Later]]] = {}
        self._ending: dict[str, tuple[float, Ended]] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._reasons: OrderedDict[str, str] = OrderedDict()

    def apply(self, events: Iterable[Event], now: float) -> list[CallRecord]:
        """Take events that were read at ``now`` (Unix time); the calls that are finished by it."""
        finished: list[CallRecord] = []
        for event in events:
            self.changes += 1
            if isinstance(event, Started):
                self._start(event, now, finished)
            elif event.call in self.up:
                self._continue(event, now, finished)
            elif event.call not in self._ended:
                self._early.setdefault(event.call, (now, []))[1].append(event)
        finished += self._give_up(now)
        return finished

    def restore(self, calls: Iterable[Call]) -> None:
        """Begin with these calls up."""
        for call in calls:
            self.up[call.started.call] = call

    def going_on(self) -> list[Call]:
        """Those of `up` of which no end is known: one whose answer was not told yet waits for it
        before it is closed."""
        return [call for call_id, call in self.up.items() if call_id not in self._ending]

    def waiting(self) -> list[Later]:
        """What came before the start or the answer of its call."""
        early = [event for _, events in self._early.values() for event in events]
        return [*early, *(end for _, end in self._ending.values())]

    def end_with(self, call_id: str, reason: str) -> None:
        """Say why a call is about to be ended by the system, before its events may even be here."""
        self._reasons[call_id] = reason
        if len(self._reasons) > REMEMBERED:
            self._reasons.popitem(last=False)

    def _start(self, event: Started, now: float, finished: list[CallRecord]) -> None:
        if event.call in self.up or self._ended.get(event.call) == event.id:
            return
        self._ended.pop(event.call, None)
        self.up[event.call] = Call(started=event)
        _, waiting = self._early.pop(event.call, (0.0, []))
        for late in sorted(waiting, key=_order):
            if event.call in self.up:
                self._continue(late, now, finished)

    def _continue(self, event: Later, now: float, finished: list[CallRecord]) -> None:
        call = self.up[event.call]
        if isinstance(event, Moved):
            _move(call, event)
            return
        if isinstance(event, Ringing):
            _ring(call, event)
            return
        if isinstance(event, Answered):
            call.answered = call.answered or event
            call.ringing = None
            _, end = self._ending.get(event.call, (0.0, None))
        else:
            end = event
        if end is None:
            return
        if not end.answered and call.answered is not None:
            # A Call Manager that was out of the way gave up a call that rang at the next one.
            return
        if end.answered and call.answered is None:
            self._ending.setdefault(end.call, (now, end))
            return
        finished.append(self._finish(end, call))

    def _give_up(self, now: float) -> list[CallRecord]:
        """Ends whose starts or answers did not come: their part of the spool was lost."""
        due = [call for call, (since, _) in self._early.items() if now >= since + PATIENCE]
        finished: list[CallRecord] = []
        for call_id in due:
            _, waiting = self._early.pop(call_id)
            ends = [event for event in waiting if isinstance(event, Ended)]
            if ends and self._own in ("", ends[0].server):
                finished.append(self._finish(ends[0], None))
            elif ends:
                self._remember(call_id, "")
        late = [end for since, end in self._ending.values() if now >= since + PATIENCE]
        finished += [self._finish(end, self.up[end.call]) for end in late]
        return finished

    def _finish(self, end: Ended, call: Call | None) -> CallRecord:
        self.changes += 1
        self.up.pop(end.call, None)
        self._ending.pop(end.call, None)
        self._remember(end.call, call.started.id if call else "")
        if end.answered:
            self.answered_total += 1
        else:
            self.failed_total += 1
        reason = self._reasons.pop(end.call, "")
        if reason:
            code = end.code if end.answered else UNAVAILABLE
            end = msgspec.structs.replace(end, code=code, reason=reason, by="system")
        return record(end, call)

    def _remember(self, call_id: str, started: str) -> None:
        self._ended[call_id] = started
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)


def _move(call: Call, event: Moved) -> None:
    call.turn = max(call.turn, event.turn)
    if event.done and (call.moved is None or call.moved.turn < event.turn):
        call.moved = event


def _order(event: Later) -> int:
    return 2 if isinstance(event, Ended) else 1 if isinstance(event, Answered) else 0


def _ring(call: Call, event: Ringing) -> None:
    if call.answered is not None:
        return
    before = call.ringing
    older, newer = before, event
    if before is not None and before.time > event.time:
        older, newer = event, before
    if not newer.invite and older is not None:
        # A later stage: the INVITE is the same.
        newer = msgspec.structs.replace(newer, invite=older.invite)
    call.ringing = newer


def record(end: Ended, call: Call | None) -> CallRecord:
    """The record of a call that ended; what is not known of it is left empty."""
    started = call.started if call else None
    answered = call.answered if call else None
    return CallRecord(
        event=end.id,
        call=end.call,
        tenant=started.tenant if started else end.tenant,
        server=end.server,
        ended=end.time,
        started=started.time if started else 0.0,
        # An answer that was never told was that long before the end.
        answered=answered.time if answered else end.time - end.duration if end.answered else 0.0,
        direction=started.direction if started else None,
        caller=started.caller if started else "",
        callee=started.callee if started else "",
        answered_by=answered.by if answered else "",
        trunk=started.trunk if started else "",
        media=call.media if call else "",
        code=end.code,
        reason=end.reason,
        ended_by=end.by,
        duration=_duration(end, answered),
        quality=end.quality,
        within=started.within if started else "",
    )


def _duration(end: Ended, answered: Answered | None) -> float:
    """Seconds; who told the end may not have seen the answer."""
    if end.answered and not end.duration and answered:
        return round(max(0.0, end.time - answered.time), 3)
    return end.duration

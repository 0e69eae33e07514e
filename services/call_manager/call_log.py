"""Follows the spool twice: once for what is up now, once for the store, which may be away.

What other Call Managers have told of calls is taken into both, so that a call has one record
whoever ends it.
"""

from __future__ import annotations

import logging
import os
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import trio

from services.call_manager.calls import REMEMBERED, Call, Calls, Later
from services.call_manager.replication import Journal
from services.core.events import (
    Ended,
    Event,
    EventWriter,
    Moved,
    Party,
    Side,
    Started,
    Tail,
    new_id,
)
from services.core.store import CallRecord, Database, StoreError, calls, recordings

log = logging.getLogger(__name__)

POLL = 0.2
GATHER = 0.01
STORE_EVERY = 0.5
CHECKPOINT_EVERY = 10.0
RETRY = 2.0
BATCH = 1000
LEAVE_TO_OTHERS = 15.0
"""Seconds after which the record of a call that ended elsewhere is stored from here too: who has
seen the end stores it, unless it died meanwhile."""
HEAR_OTHERS = 10.0
"""Seconds for which a start waits for the other Call Managers' pictures: a call that seems to be
up, or given up, may have gone on there."""
RECONCILE_EVERY = 30.0
OLD = 2.0


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far the spool is in the store, and what was not finished at that point."""

    positions: dict[str, int] = {}
    up: tuple[Call, ...] = ()
    waiting: tuple[Later, ...] = ()


class CallLog:
    """The calls that are up (`view`), and the way of finished ones to the store.

    ``ways`` are those of calls at application servers. ``contested`` is set when another Call
    Manager turns out to have had calls that began here.

    Files of the spool are removed when all of them is in the store, so that an absence of the
    database loses nothing.
    """

    def __init__(self, spool: Path, checkpoint: Path, database: Database, server: str) -> None:
        self._spool = spool
        self._checkpoint = checkpoint
        self._database = database
        self._server = server
        self._writer = EventWriter(spool, "agent")
        self.problem = ""
        found = _load(checkpoint)
        self._view_tail = Tail(spool, found.positions)
        self._store_tail = Tail(spool, found.positions)
        self.view = Calls(server)
        self._stored = Calls(server)
        self.journal = Journal(self._picture)
        self.hear_others: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self.contested = False
        self.ways: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._doubt = trio.Event()
        self._wake = trio.Event()
        self._told: list[Event] = []
        self._later: deque[tuple[float, CallRecord]] = deque()
        self._ends: deque[Ended] = deque(maxlen=REMEMBERED)
        for kept in (self.view, self._stored):
            kept.restore(found.up)
            kept.apply(found.waiting, time.time())

    async def follow(self, well: Callable[[], None]) -> None:
        """Keep `view` up to date, for ever."""
        caught_up = False
        while True:
            events = await trio.to_thread.run_sync(self._view_tail.read)
            self.view.apply(events, time.time())
            self._ends.extend(event for event in events if isinstance(event, Ended))
            self.journal.tell(events)
            well()
            if not events:
                if not caught_up:
                    # What the last life of this agent wrote may have ended elsewhere since.
                    caught_up = True
                    self._doubt.set()
                with trio.move_on_after(POLL):
                    await self._wake.wait()
                    # One look for all that comes together.
                    await trio.sleep(GATHER)
                self._wake = trio.Event()

    def wake(self) -> None:
        """There are new events: have `follow` look at once."""
        self._wake.set()

    def take(self, events: list[Event]) -> None:
        """What another Call Manager tells."""
        if any(isinstance(event, Started) and event.time < time.time() - OLD for event in events):
            # Out of a picture: an agent that has started anew may not know of ends itself.
            self._doubt.set()
        self.contested = self.contested or any(map(self._contests, events))
        self.view.apply(events, time.time())
        self._told += events

    def _contests(self, event: Event) -> bool:
        """Whether a call that began here and now went on elsewhere: calls were there meanwhile."""
        call = self.view.up.get(event.call)
        return (
            call is not None
            and not isinstance(event, Started)
            and event.server != self._server
            and event.time > call.last.time
            and call.owner[0] == self._server
        )

    def _picture(self) -> Iterator[Event]:
        for call in self.view.up.values():
            yield call.started
            if call.ringing is not None:
                yield call.ringing
            if call.answered is not None:
                yield call.answered
            if call.moved is not None:
                yield call.moved
        yield from self._ends

    async def reconcile(self, well: Callable[[], None]) -> None:
        """Close calls that others have ended while nobody told us: their records are stored."""
        while True:
            ids = [end for call in self.view.up.values() if (end := call.end_id)]
            for start in range(0, len(ids), BATCH):
                try:
                    found = await trio.to_thread.run_sync(self._find, ids[start : start + BATCH])
                except StoreError:
                    break
                self.take([_end_of(record) for record in found])
            well()
            with trio.move_on_after(RECONCILE_EVERY):
                await self._doubt.wait()
            self._doubt = trio.Event()
            # Events that are on their way say more.
            await trio.sleep(RETRY)

    def _find(self, ids: Sequence[str]) -> list[CallRecord]:
        with self._database.read() as connection:
            return calls.find(connection, ids)

    async def store(self, well: Callable[[], None]) -> None:
        """Bring finished calls to the database, for ever; while it is away they wait on disk."""
        saved = began = trio.current_time()
        changed = False
        with trio.move_on_at(began + HEAR_OTHERS):
            await self.hear_others()
        while True:
            told, self._told = self._told, []
            events = await trio.to_thread.run_sync(self._store_tail.read)
            finished = self._stored.apply([*told, *events], time.time())
            changed = changed or bool(events) or bool(told)
            finished = self._mine(finished, trio.current_time())
            if finished:
                await self._write(finished)
            if changed and trio.current_time() >= saved + CHECKPOINT_EVERY:
                await self.save()
                saved, changed = trio.current_time(), False
            well()
            if not events:
                await trio.sleep(STORE_EVERY)

    def _mine(self, finished: list[CallRecord], now: float) -> list[CallRecord]:
        """Those that are to be stored from here, now."""
        mine: list[CallRecord] = []
        for record in finished:
            if record.server == self._server:
                mine.append(record)
            else:
                self._later.append((now + LEAVE_TO_OTHERS, record))
        while self._later and self._later[0][0] <= now:
            mine.append(self._later.popleft()[1])
        return mine

    async def save(self) -> None:
        """Remember how far the store is, and remove what it has."""
        await trio.to_thread.run_sync(self._save)

    def lag(self) -> int:
        """Bytes of events that the store does not have yet."""
        return self._store_tail.lag()

    def end_with(self, call_id: str, reason: str) -> None:
        """Say why a call is about to be ended, for its record."""
        self.view.end_with(call_id, reason)
        self._stored.end_with(call_id, reason)

    def moved(
        self,
        call_id: str,
        media: str,
        turn: int,
        sides: tuple[Side, Side] | None = None,
    ) -> None:
        """Tell that a call's media are led anew; ``sides``: that it is done."""
        call = self.view.up[call_id]
        event = Moved(
            id=new_id(),
            call=call_id,
            time=time.time(),
            server=self._server,
            tenant=call.started.tenant,
            term=call.owner[1],
            media=media,
            turn=turn,
            done=sides is not None,
            caller=sides[0] if sides else None,
            callee=sides[1] if sides else None,
        )
        self._writer.append(event)
        # Who looks now must not begin once more; read again, it is the same.
        self.view.apply([event], event.time)
        self.wake()

    def ended(self, call_id: str, *, code: int, reason: str, by: Party = "system") -> None:
        """Tell the end of a call that nobody else will tell of."""
        call = self.view.up[call_id]
        now = time.time()
        answered = call.answered
        self._writer.append(
            Ended(
                id=call.end_id or new_id(),
                call=call_id,
                time=now,
                server=self._server,
                tenant=call.started.tenant,
                code=code,
                reason=reason,
                by=by,
                answered=answered is not None,
                duration=max(0.0, now - answered.time) if answered else 0.0,
            )
        )

    def tell_way(self, call_id: str, way: tuple[str, ...]) -> None:
        """The way of a call at an application server so far, for its record."""
        self.ways[call_id] = way
        self.ways.move_to_end(call_id)
        if len(self.ways) > REMEMBERED:
            self.ways.popitem(last=False)

    async def _write(self, finished: list[CallRecord]) -> None:
        finished = [
            msgspec.structs.replace(record, way=way)
            if (way := self.ways.pop(record.call, ()))
            else record
            for record in finished
        ]
        for start in range(0, len(finished), BATCH):
            batch = finished[start : start + BATCH]
            written = False
            while not written:
                written = await trio.to_thread.run_sync(self._try_write, batch)
                if not written:
                    await trio.sleep(RETRY)

    def _try_write(self, batch: list[CallRecord]) -> bool:
        try:
            with self._database.write() as connection:
                calls.add(connection, batch)
                recordings.attribute(connection, batch)
        except StoreError as error:
            if not self.problem:
                log.warning("call records wait for the store: %s", error)
            self.problem = f"call records wait for the store: {error}"
            return False
        self.problem = ""
        return True

    def _save(self) -> None:
        found = Checkpoint(
            positions=self._store_tail.positions,
            # What rings is of use for seconds only, and large.
            up=tuple(
                msgspec.structs.replace(call, ringing=None) for call in self._stored.up.values()
            ),
            waiting=tuple(self._stored.waiting()),
        )
        new = self._checkpoint.with_suffix(".new")
        with new.open("wb") as file:
            file.write(msgspec.json.encode(found))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._checkpoint)
        self._store_tail.remove_finished()


def _end_of(record: CallRecord) -> Ended:
    """The event that a stored record was made of."""
    return Ended(
        id=record.event,
        call=record.call,
        time=record.ended,
        server=record.server,
        tenant=record.tenant,
        code=record.code,
        reason=record.reason,
        by=record.ended_by,
        answered=bool(record.answered),
        duration=record.duration,
        quality=record.quality,
    )


def _load(path: Path) -> Checkpoint:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except FileNotFoundError:
        return Checkpoint()
    except (OSError, msgspec.DecodeError) as error:
        # The spool still has what the store may lack, and events that come twice are one.
        log.warning("%s cannot be read, the spool is read from its beginning: %s", path, error)
        return Checkpoint()

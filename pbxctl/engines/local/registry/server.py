"""The embedded registry on trio: HTTP in, the state's answers out, and time."""

from __future__ import annotations

import math
import random
from contextlib import suppress

import trio

from pbxctl.engines.local.http import Reply
from pbxctl.engines.local.registry import api
from pbxctl.engines.local.registry.journal import Topic
from pbxctl.engines.local.registry.messages import Answer, Request
from pbxctl.engines.local.registry.probes import Probes
from pbxctl.engines.local.registry.records import AnyRecord, Check, Kind, RefusedError, Status
from pbxctl.engines.local.registry.state import State
from pbxctl.engines.local.registry.storage import Storage, StorageError

_jitter = random.SystemRandom().random


class RegistryServer:
    """`ask` answers requests; `run` must go on beside it.

    A write is answered when it is on the disk; what is only read waits for nothing.
    """

    def __init__(self, storage: Storage) -> None:
        """Raises StorageError if what was stored cannot be read."""
        self._storage = storage
        index, records = storage.load()
        self._state = State(trio.current_time(), index, records)
        self._waiting: dict[trio.Event, Topic] = {}
        self._unsaved: dict[tuple[Kind, str], AnyRecord | None] = {}
        self._saving = trio.Lock()
        self._probes: Probes | None = None
        self._stir = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run checks and do what time asks for, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._probes = Probes(nursery, self._probed)
            self._probes.sync(self._state.journal.checks.values())
            task_status.started()
            while True:
                with trio.move_on_at(self._state.deadline() or math.inf):
                    await self._stir.wait()
                self._stir = trio.Event()
                self._state.tick(trio.current_time())
                self._publish()
                # The next write tries again; until then the records are in memory.
                with suppress(StorageError):
                    await self._save()

    async def ask(self, request: Request) -> Reply:
        """The answer, after having waited as the request asks, and after it has been stored."""
        return (await self._answer(request)).reply()

    async def _answer(self, request: Request) -> Answer:
        try:
            index, wait = api.blocking(request)
        except RefusedError as refusal:
            return Answer(status=refusal.status, body=str(refusal).encode())
        until = trio.current_time() + wait * (1 + _jitter() / 16)
        answer = self._handle(request)
        while index and answer.topic and (answer.index or 0) <= index:
            if not await self._changed(answer.topic, until):
                break
            answer = self._handle(request)
        try:
            await self._save()
        except StorageError as error:
            return Answer(status=500, body=str(error).encode(), content_type="text/plain")
        return answer

    def _handle(self, request: Request) -> Answer:
        answer = api.handle(self._state, request, trio.current_time())
        self._publish()
        if request.method != "GET":
            self._stir.set()
        return answer

    async def _changed(self, topic: Topic, until: float) -> bool:
        event = trio.Event()
        self._waiting[event] = topic
        try:
            with trio.move_on_at(until):
                await event.wait()
        finally:
            del self._waiting[event]
        return event.is_set()

    def _publish(self) -> None:
        changes = self._state.journal.take_changes()
        self._unsaved.update(self._state.journal.take_dirty())
        if not changes:
            return
        for event, topic in self._waiting.items():
            if any(topic.meets(change) for change in changes):
                event.set()
        if self._probes and any(change.kind == "check" for change in changes):
            self._probes.sync(self._state.journal.checks.values())

    def _probed(self, check: Check, status: Status, output: str) -> None:
        self._state.probed(check, status, output, trio.current_time())
        self._publish()
        self._stir.set()

    async def _save(self) -> None:
        """Store what is not stored yet; all who wait for the lock are served by one write."""
        while self._unsaved:
            async with self._saving:
                batch, self._unsaved = self._unsaved, {}
                if not batch:
                    return
                try:
                    await trio.to_thread.run_sync(
                        self._storage.write, self._state.journal.index, batch
                    )
                except BaseException:
                    self._unsaved = {**batch, **self._unsaved}
                    raise

"""The shell of recording: watches the directory and the disk, converts, indexes, expires."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import httpx
import msgspec
import trio

from services.core.configuration import Cluster, Recording
from services.core.discovery import Instance
from services.core.ng import Ng, NgError, NgTimeoutError
from services.media.recording.converter import Converter
from services.media.recording.disk import Room
from services.media.recording.library import Library
from services.media.recording.metadata import Name, legs
from services.media.recording.worker import Done
from services.media.settings import MediaSettings
from services.media.status import State

if TYPE_CHECKING:
    from services.media.mirror.mirror import Mirror

log = logging.getLogger(__name__)

EVERY = 1.0
INDEX_EVERY = 2.0
EXPIRE_EVERY = 3600.0
ORPHANED = 5.0
"""Seconds for which rtpengine must not have known a call until its recording is taken over."""
RESUME_EVERY = 0.2
ATTEMPTS = 3
"""Times that the converter may die of one capture."""
LATER = 30.0
"""Seconds until a conversion that failed is tried again."""
GROWTH = 6
"""Bytes of sound, at most, that a byte of capture becomes."""
SLOWEST = 200_000
"""Bytes of capture a second that a conversion makes at the very least."""


def ask_again(age: float) -> float:
    """Seconds until rtpengine is asked once more about a call whose recording is ``age`` old.

    Soon at first, while the other side answers and codecs settle.
    """
    return 2.0 if age < 4 else 10.0 if age < 30 else 60.0


class Recordings:
    """Everything about recordings on one media server; `run` never returns."""

    def __init__(
        self,
        settings: MediaSettings,
        ng: Ng,
        http: httpx.AsyncClient,
        state: State,
        call_managers: Callable[[], Iterable[Instance]],
    ) -> None:
        self._library = Library(settings.recordings_dir, settings.server)
        self._ng = ng
        self._http = http
        self._state = state
        self._call_managers = call_managers
        self._configuration = Recording()
        self._room = Room()
        self._asked: dict[str, tuple[float, float]] = {}
        self._unknown_since: dict[str, float] = {}
        self._refused: set[str] = set()
        self._failures: dict[str, int] = {}
        self._later: dict[str, float] = {}
        self._index_problem = ""
        self._mirror: Mirror | None = None
        self._resume = trio.Event()

    def follow(self, mirror: Mirror) -> None:
        """Tell ``mirror`` what is recorded, so that it goes on wherever the calls go."""
        self._mirror = mirror

    def resume(self) -> None:
        """Calls have come here that were recorded elsewhere, or before rtpengine's restart."""
        self._resume.set()

    def configure(self, cluster: Cluster) -> None:
        """Take new rules; in force with the next look."""
        self._configuration = cluster.recording

    async def run(self) -> None:
        """Watch, convert, index and expire, side by side."""
        while True:
            try:
                await trio.to_thread.run_sync(self._library.prepare)
                break
            except OSError as error:
                self._state.recording_stopped = f"recording stopped: {error}"
                log.warning("%s", self._state.recording_stopped)
                await trio.sleep(10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._repeat, self._watch, EVERY)
            nursery.start_soon(self._repeat, self._index, INDEX_EVERY)
            nursery.start_soon(self._repeat, self._expire, EXPIRE_EVERY)
            nursery.start_soon(self._convert_forever)
            nursery.start_soon(self._resume_forever)

    async def _repeat(self, step: Callable[[], Awaitable[None]], every: float) -> None:
        while True:
            try:
                await step()
            except OSError as error:
                log.warning("recordings: %s: %s", error.filename, error.strerror)
            await trio.sleep(every)

    async def _watch(self) -> None:
        for name in await trio.to_thread.run_sync(self._library.lost):
            await self._take_over(name)
        running = await trio.to_thread.run_sync(self._library.running)
        self._state.recordings = len(running)
        if self._mirror is not None and not self._resume.is_set():
            self._mirror.recording({name.call for name in running.values()})
        self._look_at_disk(await trio.to_thread.run_sync(self._library.free))
        if self._room.stopped:
            for name in running.values():
                await self._stop(name)
        self._asked = {k: v for k, v in self._asked.items() if k in running}
        self._unknown_since = {k: v for k, v in self._unknown_since.items() if k in running}
        for name in running.values():
            await self._ask(name)

    async def _resume_forever(self) -> None:
        """Start the recordings of calls that this server has begun to serve: each gets another
        file here, and the index has both under their Call-ID, in the order of their beginning."""
        while True:
            await self._resume.wait()
            wanted = {} if self._mirror is None else self._mirror.sessions.recordings()
            left = [call for call, about in wanted.items() if not await self._start(call, about)]
            if not left:
                self._resume = trio.Event()
                continue
            await trio.sleep(RESUME_EVERY)

    async def _start(self, call: str, metadata: str) -> bool:
        """Record a call, if it is not being recorded; False: it is to be tried again."""
        if self._room.stopped:
            return True
        try:
            await self._ng.command("start recording", {"call-id": call, "metadata": metadata})
        except NgTimeoutError:
            return False
        except NgError:
            return True  # the call has just ended
        return True

    def _look_at_disk(self, free: int) -> None:
        before = self._room
        self._room = before.after(free, self._configuration.min_free)
        self._state.disk_free = free
        self._state.recording_stopped = self._room.stopped
        if self._room.stopped and not before.stopped:
            log.error("%s", self._room.stopped)
        elif before.stopped and not self._room.stopped:
            log.warning("recording is possible again: there is room on the disk")

    async def _stop(self, name: Name) -> None:
        """End one recording; what was recorded before the disk was full is kept."""
        if name.name not in self._asked:
            self._refused.add(name.name)
        try:
            await self._ng.command("stop recording", {"call-id": name.call})
        except NgTimeoutError as error:
            log.warning("recording of call %s goes on: %s", name.call, error)
        except NgError:
            return  # the call has just ended

    async def _ask(self, name: Name) -> None:
        """Ask rtpengine who talks to which port; take over what it does not know."""
        now = trio.current_time()
        first, due = self._asked.get(name.name, (now, now))
        if now < due:
            return
        try:
            answer = await self._ng.command("query", {"call-id": name.call})
        except NgTimeoutError:
            return
        except NgError:
            since = self._unknown_since.setdefault(name.name, now)
            if now - since >= ORPHANED:
                await self._take_over(name)
            return
        self._unknown_since.pop(name.name, None)
        self._asked[name.name] = (first, now + ask_again(now - first))
        await trio.to_thread.run_sync(self._library.keep_legs, name, legs(answer))

    async def _take_over(self, name: Name) -> None:
        if await trio.to_thread.run_sync(self._library.finish, name):
            log.warning("took over the recording of call %s: rtpengine lost it", name.call)

    async def _convert_forever(self) -> None:
        converter = Converter()
        try:
            while True:
                try:
                    finished = await trio.to_thread.run_sync(self._library.finished)
                    for name in finished.values():
                        await self._convert(converter, name)
                except OSError as error:
                    log.warning("recordings: %s: %s", error.filename, error.strerror)
                await trio.sleep(EVERY)
        finally:
            converter.kill()

    async def _convert(self, converter: Converter, name: Name) -> None:
        if name.name in self._refused:
            self._refused.discard(name.name)
            await trio.to_thread.run_sync(self._library.discard, name)
            return
        capture = self._library.capture(name)
        try:
            size = capture.stat().st_size
        except FileNotFoundError:
            log.warning("call %s: there is no capture of it; was the disk full?", name.call)
            await trio.to_thread.run_sync(self._library.discard, name)
            return
        now = trio.current_time()
        if self._state.disk_free < GROWTH * size or now < self._later.get(name.name, now):
            return
        work = await trio.to_thread.run_sync(self._library.work, name)
        done = await converter.convert(msgspec.json.encode(work), 30 + size / SLOWEST)
        if done.result is None:
            await self._not_converted(name, done)
            return
        self._forget(name)
        if done.result.unknown:
            log.warning("call %s: not in its recording: %s", name.call, done.result.unknown)
        entry = await trio.to_thread.run_sync(
            self._library.publish, name, work, done.result, self._configuration.keep
        )
        log.info("recorded call %s: %.1f s, %s", name.call, entry.duration, entry.path)

    async def _not_converted(self, name: Name, done: Done) -> None:
        if done.outcome == "silent":
            self._forget(name)
            await trio.to_thread.run_sync(self._library.discard, name)
            return
        failures = self._failures.get(name.name, 0) + (done.outcome == "died")
        if done.outcome == "later" or (done.outcome == "died" and failures < ATTEMPTS):
            self._failures[name.name] = failures
            self._later[name.name] = trio.current_time() + LATER
            log.warning("recording of call %s: %s; trying again", name.call, done.problem)
            return
        self._forget(name)
        log.error("recording of call %s set aside: %s", name.call, done.problem)
        await trio.to_thread.run_sync(self._library.set_aside, name)

    def _forget(self, name: Name) -> None:
        self._failures.pop(name.name, None)
        self._later.pop(name.name, None)

    async def _index(self) -> None:
        """Send entries to any one Call Manager; all of them have one store."""
        waiting = await trio.to_thread.run_sync(lambda: list(self._library.unindexed()))
        self._state.unindexed = len(waiting)
        for entry_id, entry in waiting:
            if not await self._send(entry):
                return
            await trio.to_thread.run_sync(self._library.acknowledged, entry_id)
            self._state.unindexed -= 1

    async def _send(self, entry: bytes) -> bool:
        problem = "no Call Manager is known"
        for instance in self._call_managers():
            url = f"{instance.meta.get('admin', '')}/v1/recordings"
            try:
                answer = await self._http.post(
                    url, content=entry, headers={"Content-Type": "application/json"}
                )
            except httpx.HTTPError as error:
                problem = f"{instance.id}: {error or type(error).__name__}"
                continue
            if answer.is_success:
                self._index_problem = ""
                return True
            problem = f"{instance.id}: {answer.status_code}: {answer.text[:200]}"
        if problem != self._index_problem:
            log.warning("recordings wait for the index: %s", problem)
            self._index_problem = problem
        return False

    async def _expire(self) -> None:
        today = datetime.datetime.now(datetime.UTC).date()
        days = await trio.to_thread.run_sync(self._library.expire, self._configuration.keep, today)
        for day in days:
            log.info("recordings of %s have expired", day)

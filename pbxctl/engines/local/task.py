"""One task of a job: started, watched, started again as its restart policy says, stopped."""

from __future__ import annotations

import logging
import os
import random
import time
from pathlib import Path
from uuid import uuid4

import msgspec
import trio

from pbxctl.engines.engine import JobState, TaskStatus
from pbxctl.engines.local.execution import (
    MARK,
    Ended,
    Execution,
    Order,
    clear_up,
    ended_of,
    running_of,
)
from pbxctl.engines.local.jobfile.model import ResolvedJob, Task
from pbxctl.engines.local.jobfile.runtime import Directories, environment, interpolate
from pbxctl.engines.local.restart import Again, Completed, Tracker
from pbxctl.engines.local.state_dir import read, write

log = logging.getLogger(__name__)

_jitter = random.SystemRandom().random


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine that comes back must know. ``done``: it has completed what it was for."""

    run: str = ""
    state: JobState = "pending"
    done: bool = False
    restarts: int = 0
    exit: int | None = None
    since: float = 0.0
    tracker: Tracker = Tracker()


class TaskRunner:
    """``stem`` names the task's files; ``log`` is its log. ``stopping`` ends it when set."""

    def __init__(
        self,
        job: ResolvedJob,
        task: Task,
        *,
        stem: Path,
        log_file: Path,
        directories: Directories,
        alloc_id: str,
        stopping: trio.Event,
    ) -> None:
        self.task = task
        self._job = job
        self._stem = stem
        self._log_file = log_file
        self._directories = directories
        self._alloc_id = alloc_id
        self._stopping = stopping
        self._pid: int | None = None
        path = stem.with_name(f"{stem.name}.record")
        self._record_file = path
        found = read(path, msgspec.json.Decoder(TaskRecord).decode)
        if found and found.state == "running":
            # Of an engine that died: whether it still runs is not known before it is found.
            found = msgspec.structs.replace(found, state="pending")
        self._record = found or TaskRecord(since=time.time())

    def status(self) -> TaskStatus:
        """As it is now."""
        record = self._record
        return TaskStatus(
            name=self.task.name,
            state=record.state,
            pid=self._pid,
            restarts=record.restarts,
            exit=record.exit,
            since=record.since,
        )

    async def run(self) -> bool:
        """Run to its end: True if it completed what it was for, False if it gave up or stopped."""
        if self._record.state == "dead":
            return self._record.done
        execution = await Execution.adopt(self._stem, self.task.kill_timeout)
        if execution is None and not await self._ended_while_away():
            return self._record.done
        while not self._stopping.is_set():
            if execution is None:
                execution = await self._start()
            if execution is None:
                ended = Ended(run=self._record.run, error="it could not be started")
            else:
                ended = await self._follow(execution)
                execution = None
            if not await self._again(ended):
                return self._record.done
        self._set("dead")
        return False

    async def _ended_while_away(self) -> bool:
        """Whether to start: yes if it never ran, else as its policy says."""
        run = self._record.run
        if not run:
            return True
        await clear_up(f"{MARK}={run}")
        ended, running = ended_of(self._stem), running_of(self._stem)
        if ended and ended.run == run:
            return await self._again(ended)
        if running and running.run == run:
            return await self._again(Ended(run=run, error="it ended with its executor"))
        return True

    async def _start(self) -> Execution | None:
        run = str(uuid4())
        self._record = msgspec.structs.replace(self._record, run=run)
        try:
            # First, so that an engine that dies here knows by which mark to find what it started.
            self._save()
            self._make_directories()
            return await Execution.start(self._stem, self._order(run))
        except OSError as error:
            self._say(f"not started: {error.filename or self._stem}: {error.strerror}")
            return None

    async def _follow(self, execution: Execution) -> Ended:
        running = execution.running
        if running:
            self._pid = running.pid
            self._record = msgspec.structs.replace(self._record, run=running.run)
            self._set("running", since=running.started)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_when_told, execution)
                ended = await execution.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._pid = None
            execution.close()
        return ended

    async def _stop_when_told(self, execution: Execution) -> None:
        await self._stopping.wait()
        await execution.tell_to_stop()

    async def _again(self, ended: Ended) -> bool:
        """Note an end, and wait as long as the policy says; False if it is not to run again."""
        how = ended.error or f"exit status {ended.exit}"
        if self._stopping.is_set():
            self._set("dead", exit_status=ended.exit)
            return False
        tracker, decision = self._record.tracker.ended(
            self.task.restart,
            time.monotonic(),
            _jitter(),
            well=ended.exit == 0,
            to_completion=self.task.to_completion,
        )
        self._record = msgspec.structs.replace(self._record, tracker=tracker)
        if isinstance(decision, Completed):
            self._set("dead", exit_status=0, done=True)
            return False
        if not isinstance(decision, Again):
            self._say(f"{how}; given up: {decision.reason}")
            self._set("dead", exit_status=ended.exit)
            return False
        self._say(f"{how}; starts again in {decision.delay:.1f} s")
        self._record = msgspec.structs.replace(self._record, restarts=self._record.restarts + 1)
        self._set("restarting", exit_status=ended.exit)
        with trio.move_on_after(decision.delay):
            await self._stopping.wait()
            self._set("dead", exit_status=ended.exit)
            return False
        return True

    def _order(self, run: str) -> Order:
        told = environment(self._job, self.task, self._directories, self._alloc_id, os.environ)
        return Order(
            run=run,
            command=interpolate(self.task.command, told),
            args=tuple(interpolate(each, told) for each in self.task.args),
            environment=told | {MARK: run},
            directory=str(self._directories.task),
            kill_signal=self.task.kill_signal,
            kill_timeout=self.task.kill_timeout,
            log=str(self._log_file),
            max_files=self.task.logs.max_files,
            max_file_size=self.task.logs.max_file_size,
            mark=f"{MARK}={run}",
        )

    def _make_directories(self) -> None:
        places = self._directories
        for directory in ("data", "logs", "tmp"):
            (places.alloc / directory).mkdir(parents=True, exist_ok=True)
        for directory in (places.local, places.task / "tmp"):
            directory.mkdir(parents=True, exist_ok=True)
        places.secrets.mkdir(exist_ok=True, mode=0o700)
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        self._log_file.touch(mode=0o640)
        values = {
            "NOMAD_ALLOC_DIR": str(places.alloc),
            "NOMAD_TASK_DIR": str(places.local),
            "NOMAD_SECRETS_DIR": str(places.secrets),
        }
        for template in self.task.templates:
            # A destination that begins with one of the directories replaces what it is joined to.
            path = places.task / interpolate(template.destination, values)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(template.text)
            path.chmod(template.mode)

    def _set(
        self,
        state: JobState,
        *,
        exit_status: int | None = None,
        done: bool = False,
        since: float = 0.0,
    ) -> None:
        self._record = msgspec.structs.replace(
            self._record,
            state=state,
            done=done,
            exit=self._record.exit if state == "running" else exit_status,
            since=since or time.time(),
        )
        try:
            self._save()
        except OSError as error:
            log.warning(
                "%s %s: %s: %s", self._job.id, self.task.name, error.filename, error.strerror
            )

    def _save(self) -> None:
        write(self._record_file, msgspec.json.encode(self._record))

    def _say(self, what: str) -> None:
        """For people: in the task's own log, between what its runs wrote, and in the engine's."""
        log.warning("%s %s: %s", self._job.id, self.task.name, what)
        append(self._log_file, f"[engine: {what}]\n")


def append(path: Path, text: str) -> None:
    """Add to a log as far as the disk allows; the executor is not writing between two runs."""
    try:
        with path.open("a") as file:
            file.write(text)
    except OSError as error:
        log.warning("%s: %s", path, error.strerror)

"""One job: its prestart tasks, then the rest, until it is stopped or one of them gives up."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio

from pbxctl.engines.engine import JobState, JobStatus, TaskStatus
from pbxctl.engines.local.jobfile.model import ResolvedJob
from pbxctl.engines.local.jobfile.runtime import Directories
from pbxctl.engines.local.state_dir import StateDir
from pbxctl.engines.local.task import TaskRunner

JOB_RECORD = "job.json"
"""In the job's directory, beside its tasks' files."""


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A registered job. ``boot``: tasks of another boot of the machine are not looked for."""

    job: ResolvedJob
    alloc_id: str
    boot: str


def state_of(tasks: Sequence[TaskStatus], to_completion: Sequence[str]) -> JobState:
    """A job's state from its tasks'. Those in ``to_completion`` are done when they are dead."""
    services = [task for task in tasks if task.name not in to_completion]
    if any(task.state == "restarting" for task in tasks):
        return "restarting"
    if any(task.state == "dead" for task in services):
        return "dead"
    if any(task.state == "dead" and task.exit != 0 for task in tasks):
        return "dead"
    if services and all(task.state == "running" for task in services):
        return "running"
    return "pending"


class JobRunner:
    """A job at work. `run` must be running."""

    def __init__(self, record: JobRecord, state: StateDir) -> None:
        self.record = record
        self._stopping = trio.Event()
        self._ended = trio.Event()
        job = record.job
        self._tasks = [
            TaskRunner(
                job,
                task,
                stem=state.jobs / job.id / task.name,
                log_file=state.logs / job.id / f"{task.name}.log",
                directories=Directories(
                    alloc=state.alloc / job.id / "alloc", task=state.alloc / job.id / task.name
                ),
                alloc_id=record.alloc_id,
                stopping=self._stopping,
            )
            for task in job.tasks
        ]

    def status(self) -> JobStatus:
        """As it is now."""
        job = self.record.job
        tasks = tuple(task.status() for task in self._tasks)
        return JobStatus(
            id=job.id,
            cluster=job.meta.get("cluster", ""),
            role=job.meta.get("role", job.name),
            server=job.meta.get("server", ""),
            release=job.meta.get("release", ""),
            fingerprint=job.fingerprint,
            state=state_of(tasks, [task.name for task in job.tasks if task.to_completion]),
            tasks=tasks,
            variables={
                name: value if isinstance(value, str | int) else str(value)
                for name, value in job.variables.items()
            },
        )

    async def run(self) -> None:
        """Until the job is stopped or dead; cancelled, the tasks go on without it."""
        first = [one for one in self._tasks if one.task.to_completion]
        beside = [one for one in self._tasks if one.task.sidecar]
        rest = [one for one in self._tasks if not one.task.prestart]
        try:
            async with trio.open_nursery() as nursery:
                for one in beside:
                    nursery.start_soon(self._until_stopped, one)
                async with trio.open_nursery() as waiting:
                    for one in first:
                        waiting.start_soon(self._until_stopped, one)
                if not self._stopping.is_set():
                    for one in rest:
                        nursery.start_soon(self._until_stopped, one)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Stop every task with its signal and time-out; returns when nothing of it is left."""
        self._stopping.set()
        await self._ended.wait()

    async def _until_stopped(self, task: TaskRunner) -> None:
        if not await task.run():
            # One that gave up ends the job, as in Nomad.
            self._stopping.set()

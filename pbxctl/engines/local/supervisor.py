"""All jobs of the engine: registered, found again after the engine's death, removed."""

from __future__ import annotations

import logging
import shutil
from uuid import uuid4

import msgspec
import trio

from pbxctl.engines.engine import JobStatus
from pbxctl.engines.local.job import JOB_RECORD, JobRecord, JobRunner
from pbxctl.engines.local.jobfile.model import ResolvedJob
from pbxctl.engines.local.state_dir import SOCKET_NAME, StateDir, boot_id, read, write

log = logging.getLogger(__name__)


class Supervisor:
    """Runs jobs in ``nursery``; all methods raise EngineError."""

    def __init__(self, state: StateDir, nursery: trio.Nursery) -> None:
        self._state = state
        self._nursery = nursery
        self._jobs: dict[str, JobRunner] = {}
        self._changing: dict[str, trio.Lock] = {}

    def recover(self) -> None:
        """Go on with every job that was registered: tasks that run are found, not started."""
        for directory in sorted(self._state.jobs.iterdir()):
            record = read(directory / JOB_RECORD, msgspec.json.Decoder(JobRecord).decode)
            if record is None:
                log.error("%s: no job can be read from it; left alone", directory)
                continue
            if record.boot != boot_id():
                self._write(msgspec.structs.replace(record, boot=boot_id()), fresh=True)
                record = msgspec.structs.replace(record, boot=boot_id())
            self._run(record)

    def jobs(self) -> tuple[JobStatus, ...]:
        """Every job, by id."""
        return tuple(self._jobs[job_id].status() for job_id in sorted(self._jobs))

    async def register(self, job: ResolvedJob) -> None:
        """Start it, or replace it if it differs or is dead."""
        self._state.check_socket(self._state.alloc / job.id / "alloc" / "x", SOCKET_NAME - 1)
        async with self._changing.setdefault(job.id, trio.Lock()):
            old = self._jobs.get(job.id)
            if old:
                now = old.status()
                if now.fingerprint == job.fingerprint and now.state != "dead":
                    return
                await old.stop()
                del self._jobs[job.id]
            record = JobRecord(job=job, alloc_id=str(uuid4()), boot=boot_id())
            self._write(record, fresh=True)
            self._run(record)

    async def deregister(self, job_id: str) -> None:
        """Stop it and forget it; its logs stay."""
        async with self._changing.setdefault(job_id, trio.Lock()):
            job = self._jobs.get(job_id)
            if job is None:
                return
            await job.stop()
            del self._jobs[job_id]
            try:
                for tree in (self._state.jobs / job_id, self._state.alloc / job_id):
                    if tree.exists():
                        shutil.rmtree(tree)
            except OSError as error:
                raise self._state.failed(error) from None

    def _run(self, record: JobRecord) -> None:
        runner = JobRunner(record, self._state)
        self._jobs[record.job.id] = runner
        self._nursery.start_soon(self._run_alone, runner)

    async def _run_alone(self, runner: JobRunner) -> None:
        try:
            await runner.run()
        except Exception:
            log.exception("%s is no longer looked after", runner.record.job.id)

    def _write(self, record: JobRecord, *, fresh: bool) -> None:
        """Keep a job; ``fresh`` forgets its tasks and empties its allocation."""
        directory = self._state.jobs / record.job.id
        try:
            if fresh:
                for tree in (directory, self._state.alloc / record.job.id):
                    if tree.exists():
                        shutil.rmtree(tree)
            directory.mkdir(mode=0o700, exist_ok=True)
            write(directory / JOB_RECORD, msgspec.json.encode(record))
        except OSError as error:
            raise self._state.failed(error) from None

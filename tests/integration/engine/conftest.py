from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from pbxctl.deployment import Job
from pbxctl.engines.engine import JobStatus, TaskStatus
from pbxctl.engines.executor.processes import lock_holder
from pbxctl.engines.local import LocalEngine
from tests.support.waiting import eventually

JOB = """\
variable "id" {{ type = string }}
variable "version" {{
  type    = number
  default = 1
}}
job "{role}" {{
  id = var.id
  meta {{
    cluster = "test"
    role    = "{role}"
    server  = "s1"
    release = "1.0.0"
    version = var.version
  }}
  group "{role}" {{
    restart {{
      attempts = {attempts}
      interval = "60s"
      delay    = "200ms"
      mode     = "{mode}"
    }}
{tasks}
  }}
}}
"""

TASK = """\
    task "{name}" {{
      driver       = "raw_exec"
      kill_signal  = "SIGTERM"
      kill_timeout = "1s"
      {more}
      config {{
        command = "/bin/sh"
        args    = ["-c", <<EOF
{script}
EOF
        ]
      }}
      logs {{
        max_files     = 2
        max_file_size = 1
      }}
    }}
"""

PRESTART = 'lifecycle { hook = "prestart" }'


class Bench:
    """An engine on a directory of its own, with job files that a test writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "s"
        self.files = root / "jobs"
        self.files.mkdir()
        self.port = free_port()
        self.engine = self.another()

    def another(self) -> LocalEngine:
        """What another `pbxctl` would make."""
        return LocalEngine(self.state, registry_port=self.port, jobs=self.files)

    def write(
        self, role: str, *tasks: tuple[str, str, str], attempts: int = 20, mode: str = "delay"
    ) -> Job:
        """A job file of tasks (name, more of the stanza, shell script), and the job of it."""
        text = "".join(TASK.format(name=n, more=m, script=s) for n, m, s in tasks)
        (self.files / f"{role}.nomad.hcl").write_text(
            JOB.format(role=role, tasks=text, attempts=attempts, mode=mode)
        )
        return Job(
            id=f"test-{role}-s1", role=role, server="s1", variables={"id": f"test-{role}-s1"}
        )

    async def run(self, script: str, **policy: int | str) -> Job:
        """Register a job of one task and wait until it runs."""
        job = self.write("one", ("main", "", script), **policy)  # type: ignore[arg-type]  # a choice
        await self.engine.start()
        await self.engine.register(job)
        await self.task(job, lambda task: task.state == "running")
        return job

    async def job(self, job: Job, wish: Callable[[JobStatus], object]) -> JobStatus:
        """The job's status once it meets the wish."""

        async def ask() -> JobStatus | None:
            found = {each.id: each for each in await self.engine.jobs("test")}
            return found.get(job.id)

        found = await eventually(ask, lambda status: status is not None and wish(status))
        assert found is not None
        return found

    async def task(
        self, job: Job, wish: Callable[[TaskStatus], object], name: str = "main"
    ) -> TaskStatus:
        """A task's status once it meets the wish."""

        def meets(status: JobStatus) -> object:
            return wish(one(status))

        def one(status: JobStatus) -> TaskStatus:
            return next(task for task in status.tasks if task.name == name)

        return one(await self.job(job, meets))

    async def logged(self, job: Job, wish: Callable[[str], object], task: str = "main") -> str:
        """A task's log once it meets the wish."""

        async def ask() -> str:
            return await self.engine.logs(job.id, task, lines=1000)

        return await eventually(ask, wish)

    def pid(self) -> int:
        """Of the engine's process; 0 if there is none."""
        return lock_holder(self.state / "engine.pid")

    def processes(self, text: str = "") -> list[int]:
        """All of this engine: what has its directory in its command line or environment."""
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            try:
                command = (entry / "cmdline").read_bytes()
                whole = command + (entry / "environ").read_bytes()
            except OSError:
                continue
            if os.fsencode(self.state) in whole and text.encode() in command:
                found.append(int(entry.name))
        return found


T = TypeVar("T")


def free_port() -> int:
    """On 127.0.0.1, where the registry listens; above what the kernel gives to connections."""
    while True:
        port = 61_000 + secrets.randbelow(4_500)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    # Short, because sockets are made in it.
    root = Path(tempfile.mkdtemp(prefix="pe-"))
    bench = Bench(root)
    try:
        yield bench
        with trio.fail_after(60):
            await bench.engine.destroy()
        assert bench.processes() == []
        assert not bench.state.exists()
    finally:
        for pid in bench.processes():
            os.kill(pid, 9)
        shutil.rmtree(root, ignore_errors=True)

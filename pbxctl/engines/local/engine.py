"""The local engine, as `pbxctl` uses it: everything of a cluster on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec
import trio

import pbxctl
from pbxctl.deployment import Job
from pbxctl.engines.engine import Drift, Endpoints, EngineError, JobStatus, LeftBehind
from pbxctl.engines.executor.processes import lock_holder
from pbxctl.engines.local.about import About
from pbxctl.engines.local.ending import end_everything
from pbxctl.engines.local.job import JOB_RECORD, JobRecord
from pbxctl.engines.local.jobfile import JobFileError, ResolvedJob, resolve
from pbxctl.engines.local.jobfile.errors import Place
from pbxctl.engines.local.jobfile.runtime import INHERITED
from pbxctl.engines.local.left_behind import left_behind
from pbxctl.engines.local.state_dir import StateDir, read
from pbxctl.engines.local.tail import tail

JOBS = Path(pbxctl.__file__).parents[1] / "jobs"
REGISTRY_PORT = 8500
STARTING = 60.0
"""Seconds for the engine to start; a busy machine takes some, a good one less than one."""
ENDING = 15.0
"""Seconds for the engine to end by itself, without its tasks, before it is killed."""
STOPPING = 120.0
"""Seconds for a job to stop: its time-out, and to clear up what it leaves behind."""

T = TypeVar("T")


class LocalEngine:
    """``state_dir`` is the cluster's. ``registry_port`` None: as it was, or 8500.

    ``jobs`` is where the job files are.
    """

    def __init__(
        self, state_dir: Path, *, registry_port: int | None = None, jobs: Path = JOBS
    ) -> None:
        self._state = StateDir(state_dir)
        self._port = registry_port
        self._files = jobs

    def fingerprint(self, job: Job) -> str:
        """See `Engine.fingerprint`. Raises JobFileError."""
        return self._resolve(job).fingerprint

    async def start(self) -> None:
        """Make the engine run, on the registry port that was asked for. Raises EngineError."""
        about = await self._about_once_it_answers()
        if about:
            if self._port is None or about.registry.endswith(f":{self._port}"):
                return
            await self._stop()
        self._state.prepare()
        port = self._port or read(self._state.port, lambda data: int(data)) or REGISTRY_PORT
        try:
            await self._spawn(port)
        except EngineError:
            # Somebody else may have started it at the same moment.
            if await self._about_once_it_answers() is None:
                raise

    async def _about_once_it_answers(self) -> About | None:
        """None if no engine runs; one that is starting is waited for. Raises EngineError."""
        with trio.move_on_after(STARTING):
            while lock_holder(self._state.pid):
                with suppress(EngineError):
                    if about := await self._about():
                        return about
                await trio.sleep(0.05)
        return await self._about()

    async def running(self) -> bool:
        """Whether it answers."""
        return await self._about() is not None

    async def endpoints(self) -> Endpoints:
        """See `Engine.endpoints`."""
        about = await self._about()
        if about is None:
            raise EngineError(f"the local engine does not run on {self._state.root}")
        return Endpoints(registry=about.registry, admin_token=self._state.admin_token())

    async def jobs(self, cluster: str) -> tuple[JobStatus, ...]:
        """See `Engine.jobs`."""
        if not await self.running():
            return ()
        found = await self._ask("GET", "/jobs", tuple[JobStatus, ...])
        return tuple(job for job in found if job.cluster == cluster)

    async def left_behind(self, cluster: str) -> LeftBehind:
        """See `Engine.left_behind`. Raises EngineError."""
        return await trio.to_thread.run_sync(left_behind, self._state, cluster)

    async def register(self, job: Job) -> None:
        """See `Engine.register`. Raises JobFileError too."""
        resolved = self._resolve(job)
        await self._ask("PUT", f"/jobs/{job.id}", type(None), msgspec.json.encode(resolved))

    async def drift(self, jobs: Sequence[Job]) -> dict[str, Drift]:  # noqa: ARG002  the protocol's
        """Nothing: what is registered here is what pbxctl registered."""
        return {}

    async def put_back(self, job_id: str, fingerprint: str) -> bool:  # noqa: ARG002  the protocol's
        """False: this engine keeps no job's former versions."""
        return False

    async def deregister(self, job_id: str) -> None:
        """See `Engine.deregister`."""
        if await self.running():
            await self._ask("DELETE", f"/jobs/{job_id}", type(None))

    async def logs(self, job_id: str, task: str, *, lines: int) -> str:
        """See `Engine.logs`; they can be read whether the engine runs or not."""
        directory = self._state.logs / job_id
        path = directory / f"{task}.log"
        if not path.exists() and task not in self._tasks(job_id):
            raise EngineError(f"no task {task} of a job {job_id} has run here")
        try:
            return await trio.to_thread.run_sync(tail, path, lines)
        except OSError as error:
            raise EngineError(f"{path}: {error.strerror}") from None

    async def destroy(self) -> None:
        """See `Engine.destroy`. Works whether the engine runs or not."""
        await self._stop()
        await end_everything(self._state)
        self._state.remove()

    def _tasks(self, job_id: str) -> list[str]:
        decode = msgspec.json.Decoder(JobRecord).decode
        record = read(self._state.jobs / job_id / JOB_RECORD, decode)
        return [task.name for task in record.job.tasks] if record else []

    def _resolve(self, job: Job) -> ResolvedJob:
        path = self._files / f"{job.role}.nomad.hcl"
        try:
            text = path.read_text()
        except OSError as error:
            raise JobFileError(Place(str(path)), str(error.strerror)) from None
        except UnicodeDecodeError as error:
            raise JobFileError(Place(str(path)), f"this is no UTF-8 text: {error}") from None
        resolved = resolve(text, str(path), job.variables)
        if resolved.id != job.id:
            raise JobFileError(Place(str(path)), f"its id is {resolved.id}, not {job.id}")
        return resolved

    async def _about(self) -> About | None:
        if not self._state.socket.exists():
            return None
        try:
            return await self._ask("GET", "/engine", About)
        except EngineError:
            if lock_holder(self._state.pid):
                raise
            return None

    async def _ask(self, method: str, path: str, kind: type[T], body: bytes = b"") -> T:
        # Without TLS: to load the certificates that are not needed takes 50 ms.
        transport = httpx.AsyncHTTPTransport(uds=str(self._state.socket), verify=False)
        try:
            async with httpx.AsyncClient(
                transport=transport, base_url="http://engine", timeout=STOPPING, trust_env=False
            ) as client:
                answer = await client.request(method, path, content=body)
        except httpx.HTTPError as error:
            raise EngineError(
                f"{self._state.socket}: the local engine does not answer: "
                f"{error or type(error).__name__}; see {self._state.log}"
            ) from None
        if answer.is_success:
            return msgspec.json.decode(answer.content, type=kind)
        with suppress(msgspec.MsgspecError):
            raise EngineError(msgspec.json.decode(answer.content, type=dict[str, str])["error"])
        raise EngineError(f"the local engine failed: see {self._state.log}")

    async def _spawn(self, port: int) -> None:
        output, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                process = self._process(port, theirs)
            except OSError as error:
                raise self._state.failed(error) from None
            finally:
                os.close(theirs)
            # It lives longer than this process, or ends at once and says why.
            process.returncode = 0
            with trio.move_on_after(STARTING) as starting:
                await trio.lowlevel.wait_readable(output)
            if starting.cancelled_caught:
                raise EngineError(
                    f"the local engine did not start in {STARTING:g} s: see {self._state.log}"
                )
            _started(os.read(output, 4096), self._state.log)
        finally:
            os.close(output)

    def _process(self, port: int, output: int) -> subprocess.Popen[bytes]:
        """In a session of its own, so that it survives the terminal.

        It does not get the operator's environment, which may hold secrets.
        """
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment["PYTHONPATH"] = str(Path(pbxctl.__file__).parents[1])
        with self._state.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "pbxctl.engines.local", str(self._state.root), str(port)],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=True,
            )

    async def _stop(self) -> None:
        """End the engine's process; its tasks go on."""
        pid = lock_holder(self._state.pid)
        if not pid:
            return
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            with suppress(EngineError), trio.move_on_after(ENDING):
                await self._ask("POST", "/engine/stop", type(None))
            with trio.move_on_after(ENDING) as ending:
                await trio.lowlevel.wait_readable(process)
            if ending.cancelled_caught:
                signal.pidfd_send_signal(process, signal.SIGKILL)
                await trio.lowlevel.wait_readable(process)
        finally:
            os.close(process)


def _started(line: bytes, log: Path) -> None:
    """Raises EngineError if what the engine said when it started is not that it is ready."""
    try:
        answer = msgspec.json.decode(line, type=dict[str, str])
    except msgspec.MsgspecError:
        raise EngineError(f"the local engine ended while it started: see {log}") from None
    if "error" in answer:
        raise EngineError(answer["error"])

"""What an engine is: it runs jobs. Local and Nomad engines have this one face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from pbxctl.deployment import Job, Variable

JobState = Literal["pending", "running", "restarting", "dead"]


class EngineError(Exception):
    """The engine cannot be reached or refused; the message is for the operator."""


class TaskStatus(msgspec.Struct, frozen=True, kw_only=True):
    """``since`` and the times are Unix seconds. ``exit`` is the last status, negative a signal."""

    name: str
    state: JobState
    pid: int | None = None
    restarts: int = 0
    exit: int | None = None
    since: float = 0.0


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it runs. ``fingerprint`` is `Engine.fingerprint` of what is registered.

    ``variables`` are those it was registered with, for a plan to name what differs; empty where
    the engine cannot tell. ``trouble`` is why it does not run, where the engine itself knows.
    """

    id: str
    cluster: str
    role: str
    server: str
    release: str
    fingerprint: str
    state: JobState
    tasks: tuple[TaskStatus, ...]
    variables: dict[str, Variable] = {}
    trouble: str = ""


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody changed behind pbxctl's back, for people; ``restarts``: to set it back does."""

    text: str
    restarts: bool = False


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Where the registry is, what opens it, and the secret that opens the admin APIs.

    ``registry_ca`` and ``registry_cert`` (certificate, key) are paths, for HTTPS.
    """

    registry: str
    admin_token: str
    registry_token: str = ""
    registry_ca: str = ""
    registry_cert: tuple[str, str] | None = None


class LeftService(msgspec.Struct, frozen=True, kw_only=True):
    """A service as it was last registered; what its checks found then says nothing now."""

    id: str
    name: str
    address: str = ""
    port: int = 0
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = {}


class LeftBehind(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine that does not run left of a cluster; ``values`` is its key-value store."""

    jobs: tuple[JobStatus, ...] = ()
    values: dict[str, bytes] = {}
    services: tuple[LeftService, ...] = ()
    admin_token: str = ""

    @property
    def tasks(self) -> int:
        """How many tasks go on without the engine."""
        return sum(task.state == "running" for job in self.jobs for task in job.tasks)


class Engine(Protocol):
    """Runs jobs. All raise `EngineError`; none raises anything else an operator could cause."""

    def fingerprint(self, job: Job) -> str:
        """Digest of job file and variables as they would be registered; equal: no change."""
        ...

    async def start(self) -> None:
        """Make the engine itself run, with secrets and a registry; nothing if it does."""
        ...

    async def running(self) -> bool:
        """Whether the engine itself runs."""
        ...

    async def endpoints(self) -> Endpoints:
        """Raises EngineError if the engine does not run."""
        ...

    async def jobs(self, cluster: str) -> tuple[JobStatus, ...]:
        """The cluster's jobs, by id; empty if the engine does not run."""
        ...

    async def left_behind(self, cluster: str) -> LeftBehind:
        """What goes on of a cluster, and was written, while the engine itself does not run."""
        ...

    async def register(self, job: Job) -> None:
        """Start the job, or replace it where its fingerprint differs."""
        ...

    async def drift(self, jobs: Sequence[Job]) -> dict[str, Drift]:
        """Of jobs whose fingerprint is the registered one: those that differ nevertheless."""
        ...

    async def put_back(self, job_id: str, fingerprint: str) -> bool:
        """Make the job again what it was with that fingerprint; False if that is not kept."""
        ...

    async def deregister(self, job_id: str) -> None:
        """Stop the job with its signal and time-out; nothing if it does not run."""
        ...

    async def logs(self, job_id: str, task: str, *, lines: int) -> str:
        """The last ``lines`` lines of what the task wrote (both streams)."""
        ...

    async def destroy(self) -> None:
        """Stop all of it, the engine too, and remove what it wrote."""
        ...

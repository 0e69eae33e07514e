"""When is a deployment healthy and in force: a pure verdict on what was seen."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import httpx
import msgspec
import trio

from pbxctl.admin_client import AdminClient, AdminError, InForce
from pbxctl.deployment import Job
from pbxctl.engines.engine import Endpoints, Engine, JobStatus, TaskStatus
from pbxctl.progress import RoleHealth
from pbxctl.registry_client import RegistryClient, Service
from pbxctl.switching import CALL_MANAGER, MEDIA

ANSWER_WITHIN = 2.0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs and services by id, who answers ``/health`` well, what Call Managers have in force."""

    jobs: dict[str, JobStatus]
    services: dict[str, Service]
    answering: frozenset[str]
    in_force: dict[str, InForce]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """``waiting`` by job id: what it lacks; a job that is not in it lacks nothing."""

    roles: tuple[RoleHealth, ...]
    waiting: dict[str, str]

    @property
    def done(self) -> bool:
        """Whether nothing is waited for."""
        return not self.waiting


def judge(
    jobs: Sequence[Job], fingerprints: Mapping[str, str], seen: Seen, manifest: str | None
) -> Verdict:
    """Whether each job runs as it should, does its job, and (Call Managers) has ``manifest``.

    ``manifest`` is the digest of the manifest's bytes, None where that is not waited for.
    """
    waiting: dict[str, str] = {}
    for job in jobs:
        lacks = _lacks(job, fingerprints[job.id], seen, manifest)
        if lacks:
            waiting[job.id] = lacks
    roles: list[RoleHealth] = []
    for role in sorted({job.role for job in jobs}):
        own = [job for job in jobs if job.role == role]
        late = [job for job in own if job.id in waiting]
        roles.append(
            RoleHealth(
                role=role,
                healthy=len(own) - len(late),
                wanted=len(own),
                waiting=tuple(f"{job.server} {waiting[job.id]}" for job in late),
            )
        )
    return Verdict(roles=tuple(roles), waiting=waiting)


def _lacks(job: Job, fingerprint: str, seen: Seen, manifest: str | None) -> str:
    status = seen.jobs.get(job.id)
    if status is None:
        return "not started"
    if status.fingerprint != fingerprint:
        return "still runs with its settings from before"
    if status.state != "running":
        return status.trouble or task_trouble(status.tasks) or status.state
    service = seen.services.get(job.id)
    if service is None:
        return task_trouble(status.tasks) or "starting"
    if service.status != "passing":
        return service.check or service.status
    # A check may still stand from before a restart; the program itself cannot.
    if service.admin and job.id not in seen.answering:
        return "starting"
    if manifest is not None and job.role == CALL_MANAGER:
        has = seen.in_force.get(job.id)
        if has is None:
            return "does not say what configuration it has"
        if has.manifest != manifest:
            return "; ".join(has.problems) or "reads the configuration"
        return _media_not_taken(has, seen)
    return ""


def _media_not_taken(has: InForce, seen: Seen) -> str:
    """Media servers that are well, and that the Call Manager gives no calls yet.

    Its Kamailio takes in new ones once in 10 s at most.
    """
    if has.media is None:
        return ""
    used = {server.name for server in has.media if server.state != "down"}
    well = {each.server for each in seen.services.values() if _carries_media(each)}
    late = ", ".join(sorted(well - used))
    return f"does not use {late} yet" if late else ""


def _carries_media(service: Service) -> bool:
    return service.role == MEDIA and service.status == "passing"


def task_trouble(tasks: Sequence[TaskStatus]) -> str:
    """The tasks that ended badly, running again or not: ``agent exit 1, restarted 3 times``."""
    found: list[str] = []
    for task in tasks:
        if task.exit:
            how = f"signal {-task.exit}" if task.exit < 0 else f"exit {task.exit}"
            many = "once" if task.restarts == 1 else f"{task.restarts} times"
            again = f", restarted {many}" if task.restarts else ""
            found.append(f"{task.name} {how}{again}")
    return "; ".join(found)


async def look_at(
    engine: Engine, registry: RegistryClient, endpoints: Endpoints, cluster: str
) -> Seen:
    """Everything that `judge` wants to know. Raises EngineError and RegistryError."""
    jobs = {job.id: job for job in await engine.jobs(cluster)}
    roles = sorted({job.role for job in jobs.values()})
    services = {service.id: service for service in await registry.services(roles)}
    answering: set[str] = set()
    in_force: dict[str, InForce] = {}

    async def ask(service: Service) -> None:
        with trio.move_on_after(ANSWER_WITHIN), contextlib.suppress(AdminError, httpx.HTTPError):
            async with AdminClient(service.admin, endpoints.admin_token, patience=0) as client:
                if service.role == CALL_MANAGER:
                    in_force[service.id] = await client.in_force()
                await client.send("GET", "/health")
                answering.add(service.id)

    async with trio.open_nursery() as nursery:
        for service in services.values():
            if service.status == "passing" and service.admin:
                nursery.start_soon(ask, service)
    return Seen(jobs=jobs, services=services, answering=frozenset(answering), in_force=in_force)

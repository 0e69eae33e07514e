"""What `pbxctl status` says of each role of each server: a pure function of what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from pbxctl.commands.output import age, count
from pbxctl.engines.engine import JobStatus
from pbxctl.registry_client import Service
from services.core.configuration import ENABLED, Switch

POSITIONS = ("primary", "standby", "replica")
"""Tags by which a role says what it is among the servers of its kind."""
WELL = frozenset({"up", "active", *POSITIONS, "disabled", "draining"})
"""States that need nobody's attention: the last two are an administrator's own wish.

Unless no server of a role is left: `without_service`.
"""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One role of one server. ``load`` and ``capacity`` are calls; ``since`` is a Unix time."""

    server: str
    role: str
    state: str
    load: int | None
    capacity: int
    check: str
    since: float
    restarts: int


def rows(
    jobs: Sequence[JobStatus],
    services: Sequence[Service],
    switches: Mapping[tuple[str, str], Switch],
    load: Mapping[tuple[str, str], int],
    *,
    holder: str = "",
    jobs_known: bool = True,
) -> tuple[Row, ...]:
    """One row a job, and one for a service without a job; by role, then server.

    ``load`` is calls by (server, role), ``holder`` who has the VIP. Where no engine could be asked
    what jobs there are, services are all that is known.
    """
    by_id = {service.id: service for service in services}
    found = [
        _row(job, by_id.get(job.id), switches.get((job.server, job.role), ENABLED), load, holder)
        for job in jobs
    ]
    if not jobs_known:
        jobs = [_as_job(service) for service in services]
        found = [
            _row(job, by_id[job.id], switches.get((job.server, job.role), ENABLED), load, holder)
            for job in jobs
        ]
    known = {job.id for job in jobs}
    found += [
        Row(
            server=service.server,
            role=service.role,
            state="down" if service.status == "critical" else "warning",
            load=load.get((service.server, service.role)),
            capacity=service.capacity,
            check=f"registered, but no job runs it: {service.check}".rstrip(": "),
            since=0.0,
            restarts=0,
        )
        for service in services
        if service.id not in known
    ]
    return tuple(sorted(found, key=lambda row: (row.role, row.server)))


TAKE_CALLS = (
    ("call-manager", "Call Manager takes"),
    ("media", "media server takes"),
    ("ivr", "IVR server takes"),
)


def without_service(table: Sequence[Row]) -> tuple[str, ...]:
    """What no server does because an administrator took all that could out of service."""
    found: list[str] = []
    for role, what in TAKE_CALLS:
        states = {row.state for row in table if row.role == role}
        if states and states <= {"disabled", "draining"}:
            found.append(f"no {what} calls: {' and '.join(sorted(states))} by an administrator")
    return tuple(found)


def _row(
    job: JobStatus,
    service: Service | None,
    switch: Switch,
    load: Mapping[tuple[str, str], int],
    holder: str,
) -> Row:
    state, check = _state(job, service)
    if state == "up" and service is not None:
        state = _position(service, holder)
    since = max((task.since for task in job.tasks if task.state == "running"), default=0.0)
    if switch.state != "enabled" and state in WELL:
        state, since = switch.state, switch.since or since
        by = f"by {switch.by}" if switch.by else "by an administrator"
        check = f'{by} "{switch.reason}"' if switch.reason else by
    return Row(
        server=job.server,
        role=job.role,
        state=state,
        load=load.get((job.server, job.role), 0) if service else None,
        capacity=service.capacity if service else 0,
        check=check,
        since=since,
        restarts=sum(task.restarts for task in job.tasks),
    )


def _as_job(service: Service) -> JobStatus:
    return JobStatus(
        id=service.id,
        cluster="",
        role=service.role,
        server=service.server,
        release=service.release,
        fingerprint="",
        state="running",
        tasks=(),
    )


def _position(service: Service, holder: str) -> str:
    """What it is among its like, ``up`` where there is no such thing."""
    if service.role == "call-manager" and holder:
        return "active" if service.server == holder else "standby"
    return next((tag for tag in service.tags if tag in POSITIONS), "up")


def _state(job: JobStatus, service: Service | None) -> tuple[str, str]:
    """State and what the check says, the switch left aside."""
    ill = [task for task in job.tasks if task.state in ("restarting", "dead") and task.exit]
    if job.state in ("dead", "restarting"):
        return job.state, job.trouble or "; ".join(ended(task.name, task.exit) for task in ill)
    if service is None or (job.state == "pending" and job.trouble):
        state = "pending" if job.trouble else "starting"
        return state, job.trouble or "; ".join(ended(task.name, task.exit) for task in ill)
    if service.status == "passing":
        return "up", service.check
    return ("warning" if service.status == "warning" else "down"), service.check


def ended(task: str, status: int | None) -> str:
    """How a task ended: ``agent exit 1``, ``kamailio signal 9``."""
    if status is None:
        return task
    return f"{task} signal {-status}" if status < 0 else f"{task} exit {status}"


def cells(row: Row, now: float) -> tuple[str, ...]:
    """A row as the table shows it: server, role, state, load, check, since."""
    if row.load is None or (not row.load and row.state in POSITIONS):
        load = "-"
    elif row.role in ("media", "ivr") and row.capacity:
        load = f"{row.load}/{row.capacity}"
    else:
        load = count(row.load, "call")
    since = age(now - row.since) if row.since else "-"
    return (row.server, row.role, row.state, load, row.check or "-", since)


HEADINGS = ("SERVER", "ROLE", "STATE", "LOAD", "CHECK", "SINCE")

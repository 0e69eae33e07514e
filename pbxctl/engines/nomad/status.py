"""A job as it runs, from what Nomad says of it: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from pbxctl.deployment import Variable
from pbxctl.engines.engine import JobState, JobStatus, TaskStatus
from pbxctl.engines.nomad.wire import Alloc, JobStub, Node, TaskState

FINGERPRINT = "fingerprint"
"""In a job's meta: digest of its file and variables, as `Engine.fingerprint` gives it."""
OWN = ("cluster", "role", "server")
"""A job that has these in its meta is a cluster's."""
NO_VARIABLES = (FINGERPRINT, "role")
STOPPED = "stopped outside pbxctl"
DRIVER = "raw_exec"


def cluster_of(meta: Mapping[str, str] | None) -> str:
    """Whose job it is, empty if it is nobody's that pbxctl knows."""
    return (meta or {}).get("cluster", "") if all((meta or {}).get(name) for name in OWN) else ""


def status_of(
    stub: JobStub, version: int, allocs: Sequence[Alloc], nodes: Sequence[Node] | None
) -> JobStatus:
    """``allocs`` are the job's, of all its versions; ``nodes`` are None where nobody may know.

    ``version`` is the job's as registered: an older one that still runs is about to be stopped.
    """
    meta = stub.meta or {}
    alloc = current(allocs)
    tasks = tasks_of(alloc) if alloc else ()
    fresh = alloc is not None and alloc.job_version == version
    state: JobState = "dead" if stub.stop else _state(alloc, tasks) if fresh else "pending"
    trouble = ""
    if stub.stop:
        trouble = STOPPED
    elif state != "running":
        trouble = (_trouble(alloc) if alloc else "") or placement(meta.get("server", ""), nodes)
    variables: dict[str, Variable] = {"id": stub.id}
    variables.update((name, v) for name, v in meta.items() if name not in NO_VARIABLES)
    return JobStatus(
        id=stub.id,
        cluster=meta.get("cluster", ""),
        role=meta.get("role", ""),
        server=meta.get("server", ""),
        release=meta.get("release", ""),
        fingerprint="" if stub.stop else meta.get(FINGERPRINT, ""),
        state=state,
        tasks=tasks,
        variables=variables,
        trouble=trouble,
    )


def current(allocs: Sequence[Alloc]) -> Alloc | None:
    """The one that counts: what should run, the newest of it, else the last that did."""
    wanted = [each for each in allocs if each.desired_status == "run"]
    return max(wanted or allocs, key=lambda each: each.create_index, default=None)


def ended(alloc: Alloc) -> bool:
    """Whether nothing of it runs any more, or nobody can tell because its node is gone."""
    return alloc.client_status in ("complete", "failed", "lost", "unknown")


def _state(alloc: Alloc | None, tasks: Sequence[TaskStatus]) -> JobState:
    if alloc is None:
        return "pending"
    if alloc.client_status in ("failed", "complete", "lost") or alloc.desired_status != "run":
        return "dead"
    if any(task.state == "restarting" for task in tasks):
        return "restarting"
    settled = all(task.state in ("running", "dead") for task in tasks)
    return "running" if alloc.client_status == "running" and tasks and settled else "pending"


def tasks_of(alloc: Alloc) -> tuple[TaskStatus, ...]:
    """The tasks of an allocation, by name."""
    states = sorted((alloc.task_states or {}).items())
    return tuple(_task(name, state) for name, state in states)


def _task(name: str, state: TaskState) -> TaskStatus:
    events = state.events or []
    last = events[-1].type if events else ""
    kind: JobState = "pending"
    if state.state == "running":
        kind = "running"
    elif state.state == "dead":
        kind = "dead"
    elif last in ("Restarting", "Terminated", "Driver Failure", "Not Restarting"):
        kind = "restarting"
    ends = [each for each in events if each.type == "Terminated"]
    code = None
    if ends:
        code = -ends[-1].signal if ends[-1].signal else ends[-1].exit_code
    return TaskStatus(
        name=name,
        state=kind,
        restarts=state.restarts,
        exit=code,
        since=_unix(state.started_at if kind == "running" else state.finished_at),
    )


def _unix(moment: datetime | None) -> float:
    # Nomad says year 1 for never.
    return moment.timestamp() if moment is not None and moment.year > 1 else 0.0


def _trouble(alloc: Alloc) -> str:
    """What Nomad says of tasks that could not even begin; ended ones tell their exit status."""
    if alloc.client_status == "unknown":
        return f"Nomad has lost contact with {alloc.node_name}"
    found: dict[str, list[str]] = {}
    for name, state in sorted((alloc.task_states or {}).items()):
        events = state.events or []
        failures = [e for e in events if e.type in ("Driver Failure", "Setup Failure")]
        if failures and state.state != "running":
            message = failures[-1].display_message.rpartition(" desc = ")[2]
            found.setdefault(message, []).append(name)
    return "; ".join(f"{', '.join(names)}: {message}" for message, names in found.items())


def placement(server: str, nodes: Sequence[Node] | None) -> str:
    """Why a job for this server is not placed, empty if nothing stands in its way."""
    if nodes is None:
        return ""
    mine = [node for node in nodes if node.name == server]
    if not mine:
        return f"no node named {server} has joined Nomad"
    ready = [node for node in mine if node.status == "ready"]
    if not ready:
        return f"Nomad says that {server} is {mine[0].status}"
    if not any(node.scheduling_eligibility == "eligible" for node in ready):
        return f"{server} takes no jobs: it is drained or not eligible (nomad node eligibility)"
    if not any(_runs_programs(node) for node in ready):
        return f"the driver {DRIVER} is not enabled on {server}: see pbxctl host-config"
    return ""


def _runs_programs(node: Node) -> bool:
    driver = (node.drivers or {}).get(DRIVER)
    return driver is not None and driver.detected and driver.healthy

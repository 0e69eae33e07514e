"""What an engine that died left: jobs whose tasks go on, and its registry as it was written."""

from __future__ import annotations

from contextlib import closing

import msgspec

from pbxctl.engines.engine import EngineError, JobStatus, LeftBehind, LeftService, TaskStatus
from pbxctl.engines.executor.processes import lock_holder
from pbxctl.engines.local.execution import running_of, with_suffix
from pbxctl.engines.local.job import JOB_RECORD, JobRecord, state_of
from pbxctl.engines.local.registry.records import Key, Service
from pbxctl.engines.local.registry.storage import Storage, StorageError
from pbxctl.engines.local.state_dir import StateDir, read


def left_behind(state: StateDir, cluster: str) -> LeftBehind:
    """As the state directory tells; only for an engine that does not run. Raises EngineError."""
    decode = msgspec.json.Decoder(JobRecord).decode
    records = (read(path, decode) for path in sorted(state.jobs.glob(f"*/{JOB_RECORD}")))
    jobs = tuple(
        _job(state, record)
        for record in records
        if record is not None and record.job.meta.get("cluster") == cluster
    )
    path = state.registry / "registry.sqlite"
    if not jobs or not path.exists():
        return LeftBehind(jobs=jobs)
    try:
        with closing(Storage(path)) as storage:
            _, written = storage.load()
    except StorageError as error:
        raise EngineError(str(error)) from None
    return LeftBehind(
        jobs=jobs,
        values={each.id: each.value for each in written if isinstance(each, Key)},
        services=tuple(
            LeftService(
                id=each.id,
                name=each.name,
                address=each.address,
                port=each.port,
                tags=each.tags,
                meta=each.meta,
            )
            for each in written
            if isinstance(each, Service) and cluster in each.tags
        ),
        admin_token=state.admin_token(),
    )


def _job(state: StateDir, record: JobRecord) -> JobStatus:
    job = record.job
    once = [task.name for task in job.tasks if task.to_completion]
    tasks: list[TaskStatus] = []
    for task in job.tasks:
        stem = state.jobs / job.id / task.name
        if task.name in once:
            # Done: those it was to come before would not run otherwise.
            tasks.append(TaskStatus(name=task.name, state="dead", exit=0))
        elif lock_holder(with_suffix(stem, "lock")):
            now = running_of(stem)
            tasks.append(
                TaskStatus(
                    name=task.name,
                    state="running",
                    pid=now.pid if now else None,
                    since=now.started if now else 0.0,
                )
            )
        else:
            tasks.append(TaskStatus(name=task.name, state="dead"))
    return JobStatus(
        id=job.id,
        cluster=job.meta.get("cluster", ""),
        role=job.meta.get("role", job.name),
        server=job.meta.get("server", ""),
        release=job.meta.get("release", ""),
        fingerprint=job.fingerprint,
        state=state_of(tasks, once),
        tasks=tuple(tasks),
        variables={
            name: value if isinstance(value, str | int) else str(value)
            for name, value in job.variables.items()
        },
    )

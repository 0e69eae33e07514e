"""From a job file's text and the variables' values to the job that will run.

Source: Nomad's documentation, "Job Specification"; the rules that Nomad itself would refuse a job
by are applied where the local engine uses what they rule.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Mapping
from typing import Literal, cast

import msgspec

from pbxctl.engines.local.jobfile.errors import JobFileError
from pbxctl.engines.local.jobfile.expressions import Evaluator, Scalar
from pbxctl.engines.local.jobfile.fields import Fields
from pbxctl.engines.local.jobfile.model import (
    Logs,
    ResolvedJob,
    Resources,
    Restart,
    Task,
    Template,
)
from pbxctl.engines.local.jobfile.runtime import check_names
from pbxctl.engines.local.jobfile.syntax import parse
from pbxctl.engines.local.jobfile.variables import values

LEAST_INTERVAL = 5.0
"""Nomad takes no shorter restart interval."""
MIB = 1024 * 1024


def resolve(text: str, file: str, variables: Mapping[str, Scalar]) -> ResolvedJob:
    """The job in ``text``. Raises JobFileError with ``file`` in its place."""
    top = parse(text, file)
    outer = Fields(top, Evaluator(file, {}))
    found = values(outer.every("variable"), variables, file)
    jobs = outer.every("job")
    outer.end()
    if len(jobs) != 1:
        raise JobFileError(top.place, f"a job file holds one job, and this one {len(jobs)}")
    evaluator = Evaluator(file, found)
    job = _job(Fields(jobs[0], evaluator), fingerprint(text, variables))
    return msgspec.structs.replace(job, variables=dict(variables))


def fingerprint(text: str, variables: Mapping[str, Scalar]) -> str:
    """Digest of a job file's text and the values given for its variables."""
    given = msgspec.json.encode(dict(variables), order="deterministic")
    return hashlib.sha256(text.encode() + b"\0" + given).hexdigest()


def _job(fields: Fields, digest: str) -> ResolvedJob:
    name = fields.label()
    job_id = str(fields.text("id", name))
    name = str(fields.text("name", name))
    if not job_id or "/" in job_id or job_id.startswith("."):
        raise JobFileError(fields.place("id"), f'"{job_id}" cannot be a job\'s id')
    fields.choice("type", "service", ["service"])
    meta = fields.mapping("meta")
    _constraints(fields)
    groups = fields.every("group")
    fields.end()
    if len(groups) != 1:
        raise JobFileError(fields.block.place, f"a job has one group here, not {len(groups)}")
    return _group(Fields(groups[0], fields.evaluator), job_id, name, digest, meta)


def _group(
    fields: Fields, job_id: str, name: str, digest: str, meta: dict[str, str]
) -> ResolvedJob:
    group = fields.label()
    if fields.number("count", 1) != 1:
        raise JobFileError(
            fields.place("count"), "the local engine runs each group once: count = 1"
        )
    restart = _restart(fields.one("restart"), Restart())
    _disconnect(fields.one("disconnect"))
    meta = meta | fields.mapping("meta")
    _constraints(fields)
    ports = _ports(fields.one("network"))
    blocks = fields.every("task")
    fields.end()
    if not blocks:
        raise JobFileError(fields.block.place, f"group {group} has no task")
    tasks: dict[str, Task] = {}
    for block in blocks:
        task = _task(Fields(block, fields.evaluator), restart, meta, ports)
        if task.name in tasks:
            raise JobFileError(block.place, f"a second task {task.name}")
        tasks[task.name] = task
    return ResolvedJob(
        id=job_id,
        name=name,
        group=group,
        fingerprint=digest,
        meta=meta,
        ports=ports,
        tasks=tuple(tasks.values()),
    )


def _constraints(fields: Fields) -> None:
    """One machine meets any wish for a node; other constraints it could only ignore."""
    for block in fields.every("constraint"):
        inner = Fields(block, fields.evaluator)
        attribute = inner.text("attribute", "")
        if attribute != "${node.unique.name}":
            raise JobFileError(
                inner.place("attribute"),
                f'the local engine has no constraint on "{attribute}": only on '
                "${node.unique.name}, which it meets",
            )
        inner.choice("operator", "=", ["="])
        inner.needed("value")
        inner.end()


def _ports(fields: Fields | None) -> dict[str, int]:
    if fields is None:
        return {}
    fields.choice("mode", "host", ["host"])
    ports: dict[str, int] = {}
    for block in fields.every("port"):
        inner = Fields(block, fields.evaluator)
        name = inner.label()
        port = inner.number("static", 0)
        if not 0 < port < 65536:
            raise JobFileError(inner.place("static"), f"port {name} needs static, from 1 to 65535")
        ports[name] = port
        inner.end()
    fields.end()
    return ports


def _disconnect(fields: Fields | None) -> None:
    """What Nomad does with a node that it has lost sight of: nothing that one machine can lose."""
    if fields is None:
        return
    fields.seconds("lost_after", 0.0)
    fields.seconds("stop_on_client_after", 0.0)
    fields.truth("replace", True)
    fields.choice("reconcile", "best_score", ["best_score", "keep_original", "keep_replacement"])
    fields.end()


def _restart(fields: Fields | None, default: Restart) -> Restart:
    if fields is None:
        return default
    found = Restart(
        attempts=fields.number("attempts", default.attempts),
        interval=fields.seconds("interval", default.interval),
        delay=fields.seconds("delay", default.delay),
        mode=cast(
            "Literal['delay', 'fail']", fields.choice("mode", default.mode, ["delay", "fail"])
        ),
    )
    fields.end()
    place = fields.block.place
    if found.interval < LEAST_INTERVAL:
        raise JobFileError(place, f"interval must be at least {LEAST_INTERVAL:g} s")
    if found.mode == "delay" and not found.attempts:
        raise JobFileError(place, 'mode "delay" with 0 attempts says nothing: give attempts')
    if found.attempts * found.delay > found.interval:
        raise JobFileError(
            place,
            f"{found.attempts} attempts with a delay of {found.delay:g} s do not fit an interval "
            f"of {found.interval:g} s",
        )
    return found


def _task(fields: Fields, restart: Restart, meta: dict[str, str], ports: dict[str, int]) -> Task:
    name = fields.label()
    # Both run here as raw_exec does: as this user, with the whole file system.
    fields.choice("driver", "", ["raw_exec", "exec"])
    config = fields.one("config")
    if config is None:
        raise JobFileError(fields.block.place, f"task {name} needs config")
    lifecycle = fields.one("lifecycle")
    task = Task(
        name=name,
        command=config.needed("command"),
        args=config.texts("args"),
        env=fields.mapping("env"),
        meta=meta | fields.mapping("meta"),
        templates=tuple(
            _template(Fields(block, fields.evaluator)) for block in fields.every("template")
        ),
        prestart=lifecycle is not None,
        sidecar=_sidecar(lifecycle),
        kill_signal=fields.choice("kill_signal", "SIGINT", [each.name for each in signal.Signals]),
        kill_timeout=fields.seconds("kill_timeout", 5.0),
        logs=_logs(fields.one("logs")),
        restart=_restart(fields.one("restart"), restart),
        resources=_resources(fields.one("resources")),
    )
    config.end()
    fields.end()
    check_names(task, ports, fields.block)
    return task


def _sidecar(fields: Fields | None) -> bool:
    if fields is None:
        return False
    fields.choice("hook", "", ["prestart"])
    sidecar = fields.truth("sidecar", False)
    fields.end()
    return sidecar


def _template(fields: Fields) -> Template:
    if fields.block.attributes.get("source"):
        raise JobFileError(fields.place("source"), "the local engine has no template source: data")
    text = str(fields.text("data", ""))
    if "{{" in text:
        raise JobFileError(
            fields.place("data"), "the local engine has templates with static text only, no {{ }}"
        )
    # There is nothing a static text could be rendered anew for.
    fields.choice("change_mode", "noop", ["noop", "restart", "signal"])
    fields.text("change_signal", "")
    perms = str(fields.text("perms", "644"))
    if not perms.isdecimal() or set(perms) & set("89"):
        raise JobFileError(fields.place("perms"), f'perms "{perms}" is no octal mode, as in "600"')
    template = Template(
        destination=fields.needed("destination"),
        text=text,
        env=fields.truth("env", False),
        mode=int(perms, 8),
    )
    fields.end()
    if template.destination.startswith("/") or ".." in template.destination.split("/"):
        raise JobFileError(
            fields.place("destination"), "destination must be below the task's own directory"
        )
    return template


def _logs(fields: Fields | None) -> Logs:
    if fields is None:
        return Logs()
    found = Logs(
        max_files=fields.number("max_files", 10, least=1),
        max_file_size=fields.number("max_file_size", 10, least=1) * MIB,
    )
    fields.end()
    return found


def _resources(fields: Fields | None) -> Resources:
    if fields is None:
        return Resources()
    found = Resources(
        cpu=fields.number("cpu", 100, least=1), memory=fields.number("memory", 300, least=1)
    )
    fields.number("memory_max", 0)
    fields.end()
    return found

"""What a task is told when it starts: its environment, and ``${NOMAD_...}`` in its strings.

Source: Nomad's documentation, "Runtime Environment Settings" and "Variable Interpolation".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pbxctl.engines.local.jobfile.errors import JobFileError
from pbxctl.engines.local.jobfile.expressions import RUNTIME
from pbxctl.engines.local.jobfile.model import ResolvedJob, Task
from pbxctl.engines.local.jobfile.syntax import Block

ADDRESS = "127.0.0.1"
REGION, DATACENTER = "global", "dc1"

INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
"""Of the engine's own environment a task gets no more: the operator's may hold secrets."""

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_]")


class Directories(msgspec.Struct, frozen=True, kw_only=True):
    """Where a task may write: shared with the job's other tasks, its own, and its secrets."""

    alloc: Path
    task: Path

    @property
    def local(self) -> Path:
        """NOMAD_TASK_DIR."""
        return self.task / "local"

    @property
    def secrets(self) -> Path:
        """NOMAD_SECRETS_DIR."""
        return self.task / "secrets"


def environment(
    job: ResolvedJob,
    task: Task,
    directories: Directories,
    alloc_id: str,
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """The task's whole environment."""
    found = {name: inherited[name] for name in INHERITED if name in inherited}
    found.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    found |= _names(job.id, job.name, job.group, task, directories, alloc_id)
    found |= _of_ports(job.ports) | _of_meta(task.meta)
    for template in task.templates:
        if template.env:
            found |= _assignments(template.text)
    values = dict(found)
    return found | {name: interpolate(value, values) for name, value in task.env.items()}


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """``text`` with every ``${NOMAD_...}`` replaced."""
    return RUNTIME.sub(lambda match: values.get(match.group(1), match.group()), text)


def check_names(task: Task, ports: Mapping[str, int], block: Block) -> None:
    """Refuse names in a task's strings that it will not be told. Raises JobFileError."""
    directories = Directories(alloc=Path("a"), task=Path("t"))
    known = _names("", "", "", task, directories, "") | _of_ports(ports) | _of_meta(task.meta)
    texts = [task.command, *task.args, *task.env.values(), *(t.destination for t in task.templates)]
    for name in (match.group(1) for text in texts for match in RUNTIME.finditer(text)):
        if name not in known:
            raise JobFileError(
                block.place, f"task {task.name}: the local engine has no ${{{name}}} to tell it"
            )


def _names(
    job_id: str, job_name: str, group: str, task: Task, directories: Directories, alloc_id: str
) -> dict[str, str]:
    return {
        "NOMAD_ALLOC_DIR": str(directories.alloc),
        "NOMAD_TASK_DIR": str(directories.local),
        "NOMAD_SECRETS_DIR": str(directories.secrets),
        "NOMAD_ALLOC_ID": alloc_id,
        "NOMAD_SHORT_ALLOC_ID": alloc_id[:8],
        "NOMAD_ALLOC_INDEX": "0",
        "NOMAD_ALLOC_NAME": f"{job_id}.{group}[0]",
        "NOMAD_GROUP_NAME": group,
        "NOMAD_JOB_ID": job_id,
        "NOMAD_JOB_NAME": job_name,
        "NOMAD_TASK_NAME": task.name,
        "NOMAD_REGION": REGION,
        "NOMAD_DC": DATACENTER,
        "NOMAD_CPU_LIMIT": str(task.resources.cpu),
        "NOMAD_MEMORY_LIMIT": str(task.resources.memory),
    }


def _of_ports(ports: Mapping[str, int]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, port in ports.items():
        label = _NOT_IN_A_NAME.sub("_", name)
        found |= {
            f"NOMAD_PORT_{label}": str(port),
            f"NOMAD_HOST_PORT_{label}": str(port),
            f"NOMAD_IP_{label}": ADDRESS,
            f"NOMAD_ADDR_{label}": f"{ADDRESS}:{port}",
        }
    return found


def _of_meta(meta: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in meta.items():
        name = _NOT_IN_A_NAME.sub("_", key)
        found[f"NOMAD_META_{name}"] = value
        found[f"NOMAD_META_{name.upper()}"] = value
    return found


def _assignments(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            found[name.removeprefix("export ").strip()] = value.strip().strip("\"'")
    return found

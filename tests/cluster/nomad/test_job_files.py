"""The job files: Nomad takes them, and reads them as the local engine does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pbxctl.compile import Installation, compile_spec
from pbxctl.deployment import Job
from pbxctl.engines.local.jobfile import ResolvedJob, resolve
from pbxctl.engines.nomad.variables import var_file
from pbxctl.spec import load
from tests.cluster.lab.engines import program
from tests.cluster.nomad.bench import Bench

ROOT = Path(__file__).resolve().parents[3]
PASSWORDS = ("CARRIER_A_PASSWORD", "PASSWORD_2001", "PASSWORD_2002", "PASSWORD_2003")
HERE = Installation(prefix=Path("/opt/pbx"), state_dir=Path("/var/lib/pbx/x"), release="1.0.0")
NANOSECONDS = 1_000_000_000


def jobs() -> Iterator[Job]:
    """The first of each role: of a cluster, and of one machine."""
    for name in ("ha-cluster", "one-host"):
        spec = load(ROOT / "examples" / f"{name}.yaml", dict.fromkeys(PASSWORDS, "secret")).spec
        seen: set[str] = set()
        for job in compile_spec(spec, HERE).jobs:
            if job.role not in seen:
                seen.add(job.role)
                yield job


JOBS = {job.id: job for job in jobs()}


def test_every_job_file_is_looked_at() -> None:
    files = {path.name.partition(".")[0] for path in (ROOT / "jobs").glob("*.nomad.hcl")}
    assert {job.role for job in JOBS.values()} == files


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_nomad_s_own_tool_takes_it(job: Job, tmp_path: Path) -> None:
    variables = tmp_path / "job.vars"
    variables.write_text(var_file(job.variables))
    file = ROOT / "jobs" / f"{job.role}.nomad.hcl"
    done = subprocess.run(
        [program("nomad"), "job", "validate", f"-var-file={variables}", file],
        env={"NOMAD_ADDR": "http://127.0.0.1:1", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Job validation successful" in done.stdout


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
async def test_both_engines_read_it_alike(job: Job, bench: Bench) -> None:
    text = (ROOT / "jobs" / f"{job.role}.nomad.hcl").read_text()
    body = {"JobHCL": text, "Variables": var_file(job.variables), "Canonicalize": True}
    theirs = await bench.api("POST", "/v1/jobs/parse", body)
    assert of_nomad(theirs) == of_local(resolve(text, "x", job.variables))
    (constraint,) = theirs["Constraints"]
    assert constraint == {
        "LTarget": "${node.unique.name}",
        "RTarget": job.server,
        "Operand": "=",
    }


def of_local(job: ResolvedJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "name": job.name,
        "group": job.group,
        "meta": job.meta,
        "tasks": {
            task.name: {
                "command": task.command,
                "args": list(task.args),
                "env": task.env,
                "prestart": task.prestart,
                "sidecar": task.sidecar,
                "kill_signal": task.kill_signal,
                "kill_timeout": task.kill_timeout,
                "logs": (task.logs.max_files, task.logs.max_file_size // 2**20),
                "restart": (
                    task.restart.attempts,
                    task.restart.interval,
                    task.restart.delay,
                    task.restart.mode,
                ),
            }
            for task in job.tasks
        },
    }


def of_nomad(job: Any) -> dict[str, Any]:
    (group,) = job["TaskGroups"]
    tasks: dict[str, Any] = {}
    for task in group["Tasks"]:
        assert task["Driver"] == "raw_exec"
        lifecycle = task["Lifecycle"] or {}
        restart = task["RestartPolicy"]
        tasks[task["Name"]] = {
            "command": task["Config"]["command"],
            "args": task["Config"].get("args", []),
            "env": task["Env"] or {},
            "prestart": lifecycle.get("Hook") == "prestart",
            "sidecar": bool(lifecycle.get("Sidecar")),
            "kill_signal": task["KillSignal"] or "SIGINT",  # raw_exec's own
            "kill_timeout": task["KillTimeout"] / NANOSECONDS,
            "logs": (task["LogConfig"]["MaxFiles"], task["LogConfig"]["MaxFileSizeMB"]),
            "restart": (
                restart["Attempts"],
                restart["Interval"] / NANOSECONDS,
                restart["Delay"] / NANOSECONDS,
                restart["Mode"],
            ),
        }
    return {
        "id": job["ID"],
        "name": job["Name"],
        "group": group["Name"],
        "meta": job["Meta"] | (group["Meta"] or {}),
        "tasks": tasks,
    }

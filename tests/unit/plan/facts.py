"""Facts in, plan out: the golden cases ``cases/*.json``.

``running`` and ``wanted`` say how the spec in force and the spec to apply differ from base.yaml, as
pairs of texts; ``running`` null is a cluster that does not run. ``lacks`` takes away parts of what
runs, as an apply that was stopped would have left it; ``secrets`` are other values of secrets.
``text`` and ``changes`` are the plan, as people and as programs read it.
``python -m tests.unit.plan.facts`` writes them anew; read the difference before you keep it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from pbxctl.compile import Installation, compile_spec, manifest
from pbxctl.deployment import Deployment, Job
from pbxctl.engines.engine import JobStatus, TaskStatus
from pbxctl.plan import Plan, Running, make_plan, render, secret_fingerprints
from pbxctl.spec import load_bytes
from services.core import configuration

HERE = Path(__file__).parent
CASES = sorted((HERE / "cases").glob("*.json"))
TOKEN = "the cluster's token"
SECRETS = {"TRUNK": "trunk-secret", "ANNA": "anna-secret"}


def deployment(
    replace: list[list[str]] | None = None,
    secrets: dict[str, str] | None = None,
    release: str = "1.0.0",
) -> Deployment:
    """What base.yaml compiles to, with some of its text replaced."""
    text = (HERE / "base.yaml").read_text()
    for out, into in replace or []:
        assert text.count(out) == 1, f"{out!r} must be in base.yaml once"
        text = text.replace(out, into)
    loaded = load_bytes("base.yaml", text.encode(), HERE, SECRETS | (secrets or {}))
    where = Installation(prefix=Path("/opt/pbx"), state_dir=Path("/var/lib/pbx"), release=release)
    return compile_spec(loaded.spec, where)


def fingerprint(job: Job) -> str:
    """Stands for `Engine.fingerprint`: equal for equal variables."""
    return configuration.digest(configuration.encode(job.variables))


def fingerprints(wanted: Deployment) -> dict[str, str]:
    """By job id."""
    return {job.id: fingerprint(job) for job in wanted.jobs}


def applied(before: Deployment, wanted: Deployment) -> Running:
    """What runs when ``before`` was applied, as it is seen when ``wanted`` is to be planned."""
    return Running(
        jobs=tuple(
            JobStatus(
                id=job.id,
                cluster=before.cluster,
                role=job.role,
                server=job.server,
                release=before.release,
                fingerprint=fingerprint(job),
                state="running",
                tasks=(TaskStatus(name="agent", state="running", pid=4711),),
                variables=job.variables,
            )
            for job in before.jobs
        ),
        manifest=manifest(before),
        documents=dict(before.documents),
        directories={directory.tenant: directory.digest for directory in before.directories},
        secrets=secret_fingerprints(TOKEN, before.secrets),
        wanted=secret_fingerprints(TOKEN, wanted.secrets),
        sounds=frozenset(before.sounds),
    )


def without(running: Running, lacks: list[str]) -> Running:
    """What runs without some parts: ``manifest``, ``documents/<key>``, ``jobs/<id>``, …"""
    fields: dict[str, Any] = {}
    for part in lacks:
        name, _, key = part.partition("/")
        now = fields.get(name, getattr(running, name))
        if not key:
            fields[name] = None if name == "manifest" else type(now)()
        elif name == "jobs":
            fields[name] = tuple(job for job in now if job.id != key)
        else:
            assert key in now, part
            fields[name] = {k: value for k, value in now.items() if k != key}
    return msgspec.structs.replace(running, **fields)


def plan_of(case: dict[str, Any]) -> Plan:
    """The plan of a case."""
    wanted = deployment(**case["wanted"])
    if case["running"] is None:
        running = Running()
    else:
        before = {k: v for k, v in case["running"].items() if k != "lacks"}
        running = applied(deployment(**before), wanted)
        running = without(running, case["running"].get("lacks", []))
    return make_plan(wanted, running, fingerprints(wanted))


def shown(plan: Plan) -> dict[str, Any]:
    """What a case expects."""
    return {
        "text": render(plan, "apply with: pbxctl apply base.yaml").splitlines(),
        "changes": json.loads(msgspec.json.encode(plan.changes)),
    }


def main() -> None:
    """Write what is planned today into the golden files."""
    for file in CASES:
        case = json.loads(file.read_text())
        case = {k: case[k] for k in ("about", "running", "wanted")} | shown(plan_of(case))
        file.write_text(json.dumps(case, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

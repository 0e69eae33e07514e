"""`pbxctl plan`."""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec
import trio

from pbxctl.commands.context import Here, common, spec_argument
from pbxctl.commands.failure import CHANGES, OK
from pbxctl.commands.plan_view import show
from pbxctl.observe import observe
from pbxctl.plan import make_plan, save


@click.command("plan")
@spec_argument
@click.option(
    "--out",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Save the plan, to apply exactly it later.",
)
@click.option(
    "--detailed-exitcode", is_flag=True, help="0: nothing to change, 1: error, 2: changes."
)
@common
def command(here: Here, spec: Path, target: Path | None, detailed_exitcode: bool) -> int:
    """Show what apply would change, and what calls would notice of it. Changes nothing."""
    from pbxctl.commands.loading import compiled, engine_of

    loaded, deployment = compiled(here, spec)
    engine = engine_of(here, loaded.spec)
    running = trio.run(observe, engine, deployment)
    fingerprints = {job.id: engine.fingerprint(job) for job in deployment.jobs}
    plan = make_plan(deployment, running, fingerprints)
    plan = msgspec.structs.replace(plan, spec=str(spec.absolute()))
    if target is not None:
        write(target, save(plan))
    if here.out.json:
        here.out.value(
            {
                "cluster": plan.cluster,
                "release": plan.release,
                "empty": plan.empty,
                "add": plan.count("add"),
                "change": plan.count("change"),
                "remove": plan.count("remove"),
                "changes": plan.changes,
            }
        )
    else:
        show(here.out, plan, f"apply with: pbxctl apply {target or spec}")
    return CHANGES if detailed_exitcode and not plan.empty else OK


def write(target: Path, data: bytes) -> None:
    """Replaces the file as a whole, so that nobody applies half a plan."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)

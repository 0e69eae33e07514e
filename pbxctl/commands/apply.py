"""`pbxctl apply`."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from typing import Literal

import click
import msgspec
import trio

from pbxctl.admin_client import AdminError
from pbxctl.apply import Apply, where_it_stands
from pbxctl.calls import calls_up, whole
from pbxctl.commands.context import Here, common, spec_argument
from pbxctl.commands.failure import ERROR, INTERRUPTED, TERMINATED, CommandError
from pbxctl.commands.output import count, took
from pbxctl.commands.plan_view import show
from pbxctl.commands.progress_view import shown
from pbxctl.deployment import Deployment
from pbxctl.engines.engine import Engine, EngineError
from pbxctl.lock import LockedError, hold
from pbxctl.observe import managers, observe
from pbxctl.plan import Plan, PlanError, Running, make_plan, read, refuse_stale
from pbxctl.registry_client import RegistryError
from pbxctl.standing import UNKNOWN, Standing, unknown

AT_ONCE = 2.0
WHOLE = 120.0
TELL_WITHIN = 10.0
"""Seconds to find out what is in force after an apply that did not finish."""
SIGNALS = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED, signal.SIGHUP: 129}
STOPPED_BY = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}

End = Literal["done", "timeout", "stopped", "failed"]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How an apply ended. ``why`` is for people, empty if it is done."""

    end: End
    seconds: float
    why: str = ""
    exit_code: int = 0
    standing: Standing | None = None
    calls_before: int | None = None
    calls_after: int | None = None


@click.command("apply")
@spec_argument
@click.option("-y", "--auto-approve", is_flag=True, help="Do not ask.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=None,
    help="Seconds until it gives up waiting.  [default: 120; with Nomad, as long as all drains and "
    "all jobs that are replaced may take]",
)
@click.option(
    "--drain",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds that calls on a media server that goes may take to end.",
)
@click.option(
    "--health",
    "patience",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    help="With Nomad: seconds that a job which is replaced may take to be healthy; after that it "
    "is put back as it was.",
)
@common
def command(
    here: Here,
    spec: Path,
    auto_approve: bool,
    timeout: float | None,
    drain: float,
    patience: float,
) -> None:
    """Make SPEC true and wait until it is: shows the plan, asks, does it, says how it went.

    SPEC is a spec, or a plan that pbxctl plan --out wrote: then exactly that is done, or nothing
    if spec or cluster have changed since.
    """
    from pbxctl.commands.loading import compiled, engine_of

    saved = saved_plan(spec)
    loaded, deployment = compiled(here, Path(saved.spec) if saved else spec)
    engine = engine_of(here, loaded.spec)
    if here.out.json and not auto_approve:
        raise click.UsageError("apply --json asks nothing: give --auto-approve")
    fresh = deployment.cluster not in here.clusters()
    try:
        with hold(here.directory(deployment.cluster), "apply"):
            running = trio.run(observe, engine, deployment)
            fingerprints = {job.id: engine.fingerprint(job) for job in deployment.jobs}
            plan = make_plan(deployment, running, fingerprints)
            if saved:
                refuse_stale(saved, plan)
            if not here.out.json:
                show(here.out, plan)
            if not plan.empty and not auto_approve:
                _ask(here)
            with shown(here.out) as progress:
                within = timeout or _default(deployment, plan, drain, patience)
                work = Apply(deployment, engine, progress, drain=drain, patience=patience)
                result = trio.run(_run, work, running, plan, within)
            if fresh and result.end != "done":
                trio.run(_leave_nothing, here, engine, deployment.cluster, result.why)
    except (LockedError, PlanError) as error:
        raise CommandError(f"{error}; nothing was changed") from None
    _finish(here, deployment, plan, result)


def saved_plan(path: Path) -> Plan | None:
    """The plan in a file that `pbxctl plan --out` wrote; None for what looks like a spec."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}; nothing was changed") from None
    if not data.lstrip().startswith(b"{") or b'"basis"' not in data:
        return None
    try:
        plan = read(data)
    except PlanError as error:
        raise CommandError(f"{path}: {error}; nothing was changed") from None
    if not plan.spec:
        raise CommandError(f"{path}: the plan does not say which spec it is of")
    return plan


def _ask(here: Here) -> None:
    try:
        agreed = click.confirm("Apply this?", default=False)
    except click.Abort:
        if not here.out.out.is_terminal:
            raise CommandError("nobody answered; nothing was changed") from None
        raise
    if not agreed:
        raise CommandError("not confirmed; nothing was changed")


def _default(deployment: Deployment, plan: Plan, drain: float, patience: float) -> float:
    """Seconds for the whole."""
    if deployment.engine != "nomad":
        return WHOLE
    # Going back takes as long as going on.
    return WHOLE + len(deployment.jobs) * 10 + len(plan.restarts) * (drain + 2 * patience)


async def _run(work: Apply, running: Running, plan: Plan, timeout: float) -> Result:
    begun = time.monotonic()
    deployment, engine = work.deployment, work.engine
    before = await _count_calls(engine, deployment.cluster) if running.jobs else None
    end: End = "done"
    why, code = "", 0
    caught: list[signal.Signals] = []
    with trio.CancelScope() as whole:
        async with trio.open_nursery() as nursery:

            async def listen(task_status: trio.TaskStatus[None]) -> None:
                # What the shell had us ignore, nohup SIGHUP say, stays ignored.
                heard = [each for each in SIGNALS if signal.getsignal(each) != signal.SIG_IGN]
                with trio.open_signal_receiver(*heard) as received:
                    task_status.started()
                    async for number in received:
                        caught.append(signal.Signals(number))
                        whole.cancel()

            await nursery.start(listen)
            try:
                with trio.fail_after(timeout):
                    await work.run(running)
            except trio.TooSlowError:
                end, why, code = "timeout", f"not done after {took(timeout)}", ERROR
            except (EngineError, RegistryError, AdminError) as error:
                end, why, code = "failed", str(error), ERROR
            nursery.cancel_scope.cancel()
    if caught and (whole.cancelled_caught or end != "done"):
        end, code = "stopped", SIGNALS[caught[0]]
        why = f"stopped by {STOPPED_BY[caught[0]]}"
    seconds = time.monotonic() - begun
    if end != "done":
        standing = await _tell(work, plan)
        return Result(end=end, seconds=seconds, why=why, exit_code=code, standing=standing)
    after = await _count_calls(engine, deployment.cluster)
    return Result(end=end, seconds=seconds, calls_before=before, calls_after=after)


async def _leave_nothing(here: Here, engine: Engine, cluster: str, why: str) -> None:
    """After a first apply that did not even start the engine: no trace, as before it.

    What the message tells the operator to look at stays.
    """
    if str(here.directory(cluster)) in why or here.has_jobs(cluster):
        return
    # An engine that is just starting does not answer yet, and is not to be ended behind its back.
    with contextlib.suppress(EngineError):
        if not await engine.running():
            await engine.destroy()


async def _tell(work: Apply, plan: Plan) -> Standing:
    why = ""
    with trio.move_on_after(TELL_WITHIN):
        try:
            return await where_it_stands(work.deployment, work.engine, plan)
        except (EngineError, RegistryError, AdminError) as error:
            why = str(error)
    return unknown(work.journal.done, work.journal.doing_now, why)


async def _count_calls(engine: Engine, cluster: str) -> int | None:
    """Calls that are up, None if nobody can say."""
    with trio.move_on_after(2):
        try:
            services, token = await managers(engine, cluster)
            return len(whole(await calls_up(services, token)))
        except (EngineError, RegistryError, AdminError):
            return None
    return None


def _finish(here: Here, deployment: Deployment, plan: Plan, result: Result) -> None:
    if result.end == "done":
        if here.out.json:
            here.out.value(
                {
                    "cluster": deployment.cluster,
                    "changed": not plan.empty,
                    "changes": [msgspec.to_builtins(change) for change in plan.changes],
                    "seconds": round(result.seconds, 3),
                    "calls_before": result.calls_before,
                    "calls_after": result.calls_after,
                }
            )
        here.out.line(summary(deployment, plan, result), style="green")
        return
    standing = result.standing or UNKNOWN
    raise CommandError(
        f"{result.why}; run the same apply again to go on from here",
        details=standing.lines(),
        exit_code=result.exit_code,
        facts={
            "cluster": deployment.cluster,
            "end": result.end,
            "in_force": list(standing.in_force),
            "not_in_force": list(standing.not_in_force),
            "known": standing.known,
        },
    )


def summary(deployment: Deployment, plan: Plan, result: Result) -> str:
    """The last line: ``done in 21 s · 3 Call Managers, 2 media servers healthy · 412 calls …``."""
    names = {
        "call-manager": "Call Manager",
        "media": "media server",
        "ivr": "IVR server",
        "live": "live state server",
    }
    roles = [job.role for job in deployment.jobs]
    healthy = ", ".join(
        count(roles.count(role), names.get(role, role)) for role in sorted(set(roles))
    )
    first = f"done in {took(result.seconds)}"
    if plan.empty:
        # Right away, or only now: what an apply that was stopped had begun.
        waited = result.seconds > AT_ONCE
        first = f"in force after {took(result.seconds)}" if waited else "already in force"
    parts = [first, f"{healthy} healthy"]
    if result.calls_before is not None and result.calls_after is not None:
        parts.append(f"{count(result.calls_before, 'call')} up before, {result.calls_after} after")
    return " · ".join(parts)

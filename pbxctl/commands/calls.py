"""`pbxctl calls`."""

from __future__ import annotations

import time
from pathlib import Path

import click
import trio

from pbxctl.calls import Call, calls_up, whole
from pbxctl.commands.context import Here, common, optional_spec, which
from pbxctl.commands.directory import choose, documents_of
from pbxctl.commands.output import age
from pbxctl.engines.engine import Engine
from pbxctl.observe import managers

HEADINGS = ("STATE", "FOR", "FROM", "TO", "TENANT", "DIRECTION", "TRUNK", "MEDIA", "CALL-ID")


@click.command("calls")
@optional_spec
@which
@click.option("--tenant", metavar="NAME", help="Only this tenant's.")
@common
def command(here: Here, spec: Path | None, cluster: str | None, tenant: str | None) -> None:
    """List the calls that are up, oldest first."""
    from pbxctl.commands.loading import engine_of

    name = here.choose(cluster, spec)
    found = trio.run(_ask, engine_of(here, name), name, tenant)
    shown = [call for call in found if tenant in (None, call.tenant)]
    if here.out.json:
        here.out.value({"cluster": name, "calls": shown})
    elif not shown:
        here.out.line("no calls are up")
    else:
        here.out.table(HEADINGS, [cells(call, time.time()) for call in shown])


async def _ask(engine: Engine, cluster: str, tenant: str | None) -> list[Call]:
    services, token = await managers(engine, cluster)
    if tenant is not None:
        choose(await documents_of(engine, cluster), tenant)
    return whole(await calls_up(services, token))


def cells(call: Call, now: float) -> tuple[str, ...]:
    """A call as the table shows it; how long since it was answered, or since it began to ring."""
    return (
        "up" if call.answered else "ringing",
        age(now - (call.answered or call.started)),
        call.caller or "-",
        call.answered_by or call.callee or "-",
        call.tenant or "-",
        call.direction or "-",
        call.trunk or "-",
        call.media or "-",
        call.id,
    )

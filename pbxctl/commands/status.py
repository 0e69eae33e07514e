"""`pbxctl status`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import msgspec
import trio
from rich.console import Group
from rich.live import Live
from rich.text import Text

from pbxctl.alerts import Alerts, alerts
from pbxctl.calls import Told, Trunk, told, whole
from pbxctl.commands.context import Here, common, optional_spec, which
from pbxctl.commands.failure import ERROR, OK
from pbxctl.commands.output import columns, count
from pbxctl.commands.status_table import HEADINGS, WELL, Row, cells, rows, without_service
from pbxctl.engines.engine import Engine
from pbxctl.observe import CALL_MANAGER, Picture, look


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that status shows. ``calls`` and ``registered`` are None if nobody could say.

    A trunk that is not well is a carrier's trouble as a rule: it is shown, and ``healthy`` is of
    the cluster's own servers; ``alerts`` are what failed of late. ``vip`` and its ``holder`` are
    empty where it does not move.
    """

    cluster: str
    runs: bool
    healthy: bool
    calls: int | None
    registered: int | None
    servers: tuple[Row, ...]
    problems: tuple[str, ...]
    trunks: tuple[Trunk, ...] = ()
    alerts: Alerts = Alerts()
    vip: str = ""
    holder: str = ""


@click.command("status")
@optional_spec
@which
@click.option("--watch", is_flag=True, help="Keep showing it, every --interval seconds.")
@click.option("--interval", type=click.FloatRange(min=0.2), default=2.0, show_default=True)
@common
def command(
    here: Here, spec: Path | None, cluster: str | None, watch: bool, interval: float
) -> int:
    """Show the servers, what their checks found, and their load.

    Exit status 0 if all is up (or disabled by an administrator), 1 if not.
    """
    from pbxctl.commands.loading import engine_of

    name = here.choose(cluster, spec)
    engine = engine_of(here, name)
    if watch:
        trio.run(_watch, here, engine, name, interval)
        return OK
    found = trio.run(report, engine, name)
    _print(here, found)
    return OK if found.healthy else ERROR


async def report(engine: Engine, cluster: str) -> Report:
    """Looks once, for 7 s at most. Raises EngineError."""
    picture = await look(engine, cluster)
    managers = [each for each in picture.services if each.role == CALL_MANAGER]
    said, failed = Told(), Alerts()

    async def ask(token: str) -> None:
        nonlocal said
        said = await told(managers, token)

    if picture.endpoints is not None and managers:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, picture.endpoints.admin_token)
            failed = await alerts(managers, picture.endpoints.admin_token)
    load: dict[tuple[str, str], int] = {}
    for call in said.calls or ():
        app_role, _, app = call.app.partition("/")
        for key in ((call.server, CALL_MANAGER), (call.media, "media"), (app, app_role)):
            load[key] = load.get(key, 0) + 1
    calls = None if said.calls is None else len(whole(said.calls))
    problems = (*picture.problems, *said.problems)
    found = assemble(picture, load, calls, said.registered, problems)
    return msgspec.structs.replace(found, trunks=said.trunks, alerts=failed)


def assemble(
    picture: Picture,
    load: dict[tuple[str, str], int],
    calls: int | None,
    phones: int | None,
    problems: tuple[str, ...],
) -> Report:
    """The report of what was seen; a cluster without jobs is not healthy."""
    table = rows(
        picture.jobs,
        picture.services,
        picture.switches,
        load,
        holder=picture.holder,
        jobs_known=picture.engine_known,
    )
    well = picture.engine_runs and bool(table) and all(row.state in WELL for row in table)
    managers = [each for each in picture.services if each.role == CALL_MANAGER]
    vip = next((each.meta["vip"] for each in managers if each.meta.get("vip")), "")
    problems = (*problems, *without_service(table))
    if len(managers) > 1 and not picture.holder:
        problems = (*problems, f"no Call Manager holds the VIP {vip}".rstrip())
    return Report(
        cluster=picture.cluster,
        runs=picture.engine_runs,
        healthy=well and not problems,
        calls=calls,
        registered=phones,
        servers=table,
        problems=problems,
        vip=vip if picture.holder else "",
        holder=picture.holder,
    )


def lines(found: Report, now: float, width: int) -> list[Text]:
    """The report for people."""
    if not found.runs and not found.servers:
        return [Text(f"{found.cluster} does not run; start it with pbxctl apply")]
    parts = [found.cluster]
    if found.holder:
        parts.append(f"VIP {found.vip} on {found.holder}")
    if found.calls is not None:
        parts.append(count(found.calls, "call"))
    if found.registered is not None:
        parts.append(f"{found.registered:,} registered")
    table = columns(HEADINGS, [cells(row, now) for row in found.servers], width=width)
    notes = [Text(problem, style="yellow") for problem in found.problems]
    notes += [Text(note, style="yellow") for note in found.alerts.notes()]
    several = len({each.server for each in found.trunks}) > 1
    for trunk in found.trunks:
        if trunk.trouble:
            seen = f" from {trunk.server}" if several else ""
            notes.append(Text(f"trunk {trunk.name}{seen}: {trunk.trouble}", style="yellow"))
    return [Text(" · ".join(parts)), *(table if found.servers else []), *notes]


def _print(here: Here, found: Report) -> None:
    if here.out.json:
        here.out.value(found)
        return
    for line in lines(found, time.time(), here.out.out.width):
        here.out.out.print(line, soft_wrap=True)


async def _watch(here: Here, engine: Engine, cluster: str, interval: float) -> None:
    if not here.out.interactive:
        while True:
            found = await report(engine, cluster)
            if here.out.json:
                click.echo(msgspec.json.encode(found))
            else:
                _print(here, found)
            await trio.sleep(interval)
    live: Any = Live(console=here.out.out, auto_refresh=False, screen=True)
    with live:
        while True:
            found = await report(engine, cluster)
            live.update(Group(*lines(found, time.time(), here.out.out.width)), refresh=True)
            await trio.sleep(interval)

"""`pbxctl alerts`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
import trio

from pbxctl.admin_client import AdminClient, AdminError
from pbxctl.alerts import Alerts, Incident, Tested
from pbxctl.commands.context import Here, common, optional_spec, which
from pbxctl.commands.failure import ERROR, OK, CommandError
from pbxctl.commands.output import age
from pbxctl.engines.engine import Engine
from pbxctl.observe import call_manager, managers

HEADINGS = ("WHAT", "STATE", "SINCE", "FAILED", "REASON")
MAILS = ("MAIL", "MADE", "STATE")


@click.group("alerts")
def command() -> None:
    """Show what failed of late and who was mailed; send a test mail."""


@command.command("list")
@optional_spec
@which
@common
def list_alerts(here: Here, spec: Path | None, cluster: str | None) -> None:
    """List what fails, what failed within a day, and the mails about it."""
    from pbxctl.commands.loading import engine_of

    name = here.choose(cluster, spec)
    found = trio.run(_ask, engine_of(here, name), name)
    if here.out.json:
        here.out.value(found)
        return
    for line in (f"mails go to {', '.join(found.recipients) or 'nobody'}",):
        here.out.line(line)
    now = time.time()
    if not found.incidents:
        here.out.line("nothing has failed within a day")
    else:
        here.out.table(HEADINGS, [cells(one, now) for one in found.incidents])
    if found.mails:
        rows = [(one.subject, f"{age(now - one.made)} ago", one.state) for one in found.mails]
        here.out.table(MAILS, rows)


@command.command("test")
@optional_spec
@which
@common
def test_alerts(here: Here, spec: Path | None, cluster: str | None) -> int:
    """Send a test mail through the running cluster, from each Call Manager."""
    from pbxctl.commands.loading import engine_of

    name = here.choose(cluster, spec)
    tested = trio.run(_test, engine_of(here, name), name)
    if here.out.json:
        here.out.value({"cluster": name, "tests": tested})
    for one in tested if not here.out.json else ():
        taken = [who for who in one.recipients if who not in one.refused]
        if taken:
            here.out.line(f"{one.server}: sent to {', '.join(taken)}")
        for who, why in one.refused.items():
            here.out.note(f"{one.server}: {who} was refused: {why}", style="yellow")
    return ERROR if any(one.refused for one in tested) else OK


async def _ask(engine: Engine, cluster: str) -> Alerts:
    async with call_manager(engine, cluster) as client:
        return await client.get("/v1/alerts", Alerts)


async def _test(engine: Engine, cluster: str) -> Sequence[Tested]:
    """Every Call Manager may have to send alerts one day: all of them try."""
    services, token = await managers(engine, cluster)
    found: list[Tested] = []
    problems: list[str] = []
    for service in services:
        async with AdminClient(service.admin, token) as client:
            try:
                answer = await client.send("POST", "/v1/alerts/test")
            except AdminError as error:
                problems.append(f"{service.server}: {error}")
            else:
                found.append(msgspec.json.decode(answer, type=Tested))
    if problems:
        sent = ", ".join(one.server for one in found)
        details = (*problems, f"{sent}: sent") if sent else tuple(problems)
        raise CommandError(
            "no test mail could be sent" if not sent else "a test mail could not be sent",
            details=details,
        )
    return found


def cells(one: Incident, now: float) -> tuple[str, ...]:
    """An incident as the table shows it."""
    ends = {"well": "well again", "left": "left", "switched": "switched off"}
    state = ends.get(one.end, "over") if one.ended else "flapping" if one.flapping else "failed"
    times = "once" if one.failures == 1 else f"{one.failures} times"
    return (one.name, state, f"{age(now - one.since)} ago", times, one.reason or "-")

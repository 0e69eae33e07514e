"""`pbxctl failover`."""

from __future__ import annotations

import time
from pathlib import Path

import click
import msgspec
import trio

from pbxctl.admin_client import AdminClient, AdminError
from pbxctl.commands.context import Here, common, optional_spec, which
from pbxctl.commands.failure import CommandError
from pbxctl.engines.engine import Engine
from pbxctl.observe import managers


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Who has the VIP, as one Call Manager knows it."""

    server: str
    holder: str
    held: bool
    managers: list[str] = []


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """Servers' names; ``seconds`` that the hand-over took."""

    cluster: str
    before: str
    holder: str
    seconds: float


@click.command("failover")
@optional_spec
@which
@click.option("--to", metavar="SERVER", default="", help="Only to this Call Manager's server.")
@common
def command(here: Here, spec: Path | None, cluster: str | None, to: str) -> None:
    """Hand the VIP over to another Call Manager; calls go on."""
    from pbxctl.commands.loading import engine_of

    name = here.choose(cluster, spec)
    done = trio.run(_move, engine_of(here, name), name, to)
    if here.out.json:
        here.out.value(done)
    else:
        took = f"{done.seconds * 1000:.0f} ms"
        here.out.line(f"the VIP went from {done.before} to {done.holder} in {took}")


async def _move(engine: Engine, cluster: str, to: str) -> Moved:
    services, token = await managers(engine, cluster)
    known = [service.server for service in services]
    if to and to not in known:
        raise CommandError(
            f"no Call Manager that is up runs on {to!r}; expected one of {', '.join(known)}"
        )
    for service in services:
        async with AdminClient(service.admin, token) as client:
            standing = await client.get("/v1/failover", Standing)
            if not standing.held:
                continue
            if len(standing.managers) < 2:
                raise CommandError(f"{service.server} is the only Call Manager: nobody can take it")
            if to == service.server:
                return Moved(cluster=cluster, before=to, holder=to, seconds=0.0)
            began = time.monotonic()
            try:
                await client.fail_over(to)
            except AdminError as error:
                raise CommandError(f"the VIP is where it was, or nowhere: {error}") from None
            took = time.monotonic() - began
            after = await client.get("/v1/failover", Standing)
            return Moved(cluster=cluster, before=service.server, holder=after.holder, seconds=took)
    raise CommandError(
        "no Call Manager has the VIP at this moment; see pbxctl status and try again"
    )

"""`pbxctl trunks`."""

from __future__ import annotations

from pathlib import Path

import click
import trio

from pbxctl.calls import Trunk, trunks
from pbxctl.commands.context import Here, common, optional_spec, which
from pbxctl.engines.engine import Engine
from pbxctl.observe import managers

HEADINGS = ("TRUNK", "HOST", "TRANSPORT", "REGISTRATION", "OPTIONS", "SEEN FROM")


@click.command("trunks")
@optional_spec
@which
@common
def command(here: Here, spec: Path | None, cluster: str | None) -> None:
    """List the trunks: whether they are registered, and what they answer to OPTIONS."""
    from pbxctl.commands.loading import engine_of

    name = here.choose(cluster, spec)
    found = trio.run(_ask, engine_of(here, name), name)
    if here.out.json:
        here.out.value({"cluster": name, "trunks": found})
    elif not found:
        here.out.line("no trunks are configured")
    else:
        here.out.table(HEADINGS, [cells(each) for each in found])


async def _ask(engine: Engine, cluster: str) -> list[Trunk]:
    services, token = await managers(engine, cluster)
    return await trunks(services, token)


def cells(trunk: Trunk) -> tuple[str, ...]:
    """A trunk as the table shows it."""
    answer = f"{trunk.options} in {trunk.options_ms:g} ms" if trunk.options else ""
    return (
        trunk.name,
        trunk.host or "-",
        trunk.transport.upper() or "-",
        trunk.registration if trunk.registration != "none" else "-",
        trunk.options_problem or answer or "-",
        trunk.server,
    )

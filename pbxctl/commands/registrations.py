"""`pbxctl registrations`."""

from __future__ import annotations

import re
import time
from pathlib import Path

import click
import trio

from pbxctl.calls import Binding, bindings
from pbxctl.commands.context import Here, common, optional_spec, which
from pbxctl.commands.directory import documents_of, must_be_known
from pbxctl.commands.output import age, count
from pbxctl.engines.engine import Engine
from pbxctl.observe import call_manager

HEADINGS = ("ADDRESS OF RECORD", "CONTACT", "TRANSPORT", "FROM", "EXPIRES IN", "PHONE")


@click.command("registrations")
@optional_spec
@which
@click.option("--tenant", metavar="NAME", help="Only this tenant's.")
@click.option("--extension", help="Only this extension's.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="At most so many."
)
@common
def command(
    here: Here,
    spec: Path | None,
    cluster: str | None,
    tenant: str | None,
    extension: str | None,
    limit: int,
) -> None:
    """List the phones that are registered."""
    from pbxctl.commands.loading import engine_of

    name = here.choose(cluster, spec)
    found = trio.run(_ask, engine_of(here, name), name, tenant, extension, limit + 1)
    shown, more = found[:limit], len(found) > limit
    if here.out.json:
        here.out.value({"cluster": name, "registrations": shown, "more": more})
    elif not shown:
        here.out.line("no phone is registered")
    else:
        here.out.table(HEADINGS, [cells(each, time.time()) for each in shown])
        if more:
            here.out.note(f"there are more than {count(limit, 'binding')}; see --limit")


async def _ask(
    engine: Engine, cluster: str, tenant: str | None, extension: str | None, most: int
) -> list[Binding]:
    found: list[Binding] = []
    async with call_manager(engine, cluster) as client:
        if tenant is not None or extension is not None:
            await must_be_known(client, await documents_of(engine, cluster), tenant, extension)
        async for binding in bindings(client, tenant=tenant, extension=extension):
            found.append(binding)
            if len(found) == most:
                break
    return found


def cells(binding: Binding, now: float) -> tuple[str, ...]:
    """A binding as the table shows it."""
    address = f"{binding.extension}@{binding.domain or binding.tenant}".rstrip("@")
    return (
        address,
        binding.contact,
        transport(binding.contact),
        binding.received or "-",
        age(binding.expires - now),
        binding.user_agent or "-",
    )


def transport(contact: str) -> str:
    """The transport of a contact's URI; TLS for ``sips``, UDP where it says nothing."""
    found = re.search(r";transport=(\w+)", contact, re.IGNORECASE)
    if found:
        return found[1].upper()
    return "TLS" if contact.lower().startswith("sips:") else "UDP"

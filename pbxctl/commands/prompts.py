"""`pbxctl prompts`."""

from __future__ import annotations

import time
from urllib.parse import quote

import click
import msgspec
import trio

from pbxctl.commands.context import Here, common, which
from pbxctl.commands.directory import store, tenant_option
from pbxctl.commands.output import age
from pbxctl.engines.engine import Engine

HEADINGS = ("NUMBER", "NAME", "HEARD", "RECORDED BY", "AT")


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """As the API lists it: ``digest`` is empty where callers hear what the spec has."""

    name: str
    number: str
    digest: str = ""
    by: str = ""
    at: float = 0.0


@click.group("prompts")
def command() -> None:
    """Prompts that are recorded by phone: list them, go back to what the spec has."""


@command.command("list")
@tenant_option
@which
@common
def list_prompts(here: Here, tenant: str | None, cluster: str | None) -> None:
    """List what may be recorded, and what was."""
    from pbxctl.commands.loading import engine_of

    name = here.choose(cluster)

    async def run(engine: Engine) -> list[Prompt]:
        async with store(engine, name, tenant) as users:
            return await users.client.get(_path(users.tenant.name), list[Prompt])

    found = trio.run(run, engine_of(here, name))
    if here.out.json:
        here.out.value(found)
    elif not found:
        here.out.line("the spec lets nobody record prompts by phone")
    else:
        now = time.time()
        here.out.table(HEADINGS, [_cells(each, now) for each in found])


@command.command("reset")
@click.argument("prompt")
@tenant_option
@which
@common
def reset(here: Here, prompt: str, tenant: str | None, cluster: str | None) -> None:
    """Let callers hear again what the spec has for PROMPT, a name."""
    from pbxctl.commands.loading import engine_of

    name = here.choose(cluster)

    async def run(engine: Engine) -> str:
        async with store(engine, name, tenant) as users:
            whose = users.tenant.name
            await users.client.send("DELETE", f"{_path(whose)}/{quote(prompt, safe='')}")
            return whose

    whose = trio.run(run, engine_of(here, name))
    if here.out.json:
        here.out.value({"done": "reset", "tenant": whose, "prompt": prompt})
    else:
        here.out.line(f"{whose} {prompt}: callers hear what the spec has")


def _path(tenant: str) -> str:
    return f"/v1/tenants/{quote(tenant, safe='')}/prompts"


def _cells(prompt: Prompt, now: float) -> tuple[str, ...]:
    if not prompt.digest:
        return (prompt.number, prompt.name, "the spec's", "-", "-")
    return (prompt.number, prompt.name, "recorded", prompt.by or "-", f"{age(now - prompt.at)} ago")

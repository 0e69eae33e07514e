"""`pbxctl users list`."""

from __future__ import annotations

import click
import trio

from pbxctl.commands.context import Here, common, which
from pbxctl.commands.directory import Listed, store, tenant_option
from pbxctl.commands.passwords import public
from pbxctl.engines.engine import Engine

HEADINGS = ("EXTENSION", "NAME", "PERMISSION", "CALLER ID", "FLAGS", "FROM", "EMAIL")


@click.command("list")
@tenant_option
@click.option(
    "--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="At most so many."
)
@which
@common
def list_users(here: Here, tenant: str | None, limit: int, cluster: str | None) -> None:
    """List users by extension, with where they come from: the spec, or the API."""
    from pbxctl.commands.loading import engine_of

    name = here.choose(cluster)
    whose, users, more = trio.run(_list, engine_of(here, name), name, tenant, limit)
    if here.out.json:
        shown = [public(user) for user in users]
        here.out.value({"cluster": name, "tenant": whose, "users": shown, "more": more})
        return
    here.out.table(HEADINGS, [cells(user) for user in users])
    if more:
        here.out.note(f"there are more than {limit}; see --limit, or pbxctl users export")


async def _list(
    engine: Engine, cluster: str, tenant: str | None, limit: int
) -> tuple[str, list[Listed], bool]:
    users: list[Listed] = []
    async with store(engine, cluster, tenant) as directory:
        async for user in directory.all():
            if len(users) == limit:
                return directory.tenant.name, users, True
            users.append(user)
        return directory.tenant.name, users, False


def cells(user: Listed) -> tuple[str, ...]:
    """A user as the table shows it."""
    forward = user.forward
    flags = [
        "disabled" if not user.enabled else "",
        "" if user.can_register else "no-password",
        "dnd" if user.do_not_disturb else "",
        "record" if user.record else "",
        "forward"
        if forward.always or forward.busy or forward.no_answer or forward.not_registered
        else "",
    ]
    return (
        user.extension,
        user.name or "-",
        user.permission,
        user.caller_id or "-",
        " ".join(flag for flag in flags if flag) or "-",
        user.source or "-",
        user.email or "-",
    )

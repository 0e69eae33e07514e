"""`pbxctl users add`, `remove`, `password` and `pin`."""

from __future__ import annotations

from urllib.parse import quote

import click
import msgspec
import trio

from pbxctl.admin_client import user_path
from pbxctl.commands.context import Here, common, which
from pbxctl.commands.directory import in_spec, must_be_extension, store, tenant_option
from pbxctl.commands.failure import CommandError
from pbxctl.commands.passwords import ha1s, obtain, password_options
from pbxctl.engines.engine import Engine
from services.core.configuration import Permission, User


@click.command("add")
@click.argument("extension")
@tenant_option
@click.option("--name", "full_name", default="", help="The person's.")
@click.option("--email", default="")
@click.option(
    "--permission",
    type=click.Choice(["internal", "national", "international"]),
    default="internal",
    show_default=True,
)
@click.option("--max-calls", type=click.IntRange(min=0), default=0, help="At once; 0: no limit.")
@click.option("--caller-id", default="", help="Shown outside, E.164.")
@click.option("--record", is_flag=True, help="Record this user's calls.")
@password_options
@which
@common
def add(
    here: Here,
    extension: str,
    tenant: str | None,
    full_name: str,
    email: str,
    permission: Permission,
    max_calls: int,
    caller_id: str,
    record: bool,
    password_stdin: bool,
    generate: bool,
    cluster: str | None,
) -> None:
    """Add a user. The password is asked for, read with --password-stdin, or made by --generate."""
    from pbxctl.commands.loading import engine_of

    must_be_extension(extension)
    name = here.choose(cluster)
    secret = obtain(stdin=password_stdin, generate=generate, json=here.out.json)

    async def run(engine: Engine) -> str:
        async with store(engine, name, tenant) as users:
            whose = users.tenant.name
            found = await users.find(extension)
            if found is not None and found.source == "spec":
                raise in_spec(whose, extension)
            if found is not None:
                raise CommandError(
                    f"{whose} has a user {extension} already; pbxctl users remove it first, "
                    "or pbxctl users password to change the password"
                )
            user = User(
                tenant=whose,
                extension=extension,
                name=full_name,
                email=email,
                permission=permission,
                max_calls=max_calls,
                caller_id=caller_id,
                record=record,
            )
            fields = ha1s(extension, users.realm, secret)
            await users.client.put_user(msgspec.structs.replace(user, **fields))
            return whose

    whose = trio.run(run, engine_of(here, name))
    _done(here, "added", whose, extension, secret if generate else None)


@click.command("password")
@click.argument("extension")
@tenant_option
@password_options
@which
@common
def password(
    here: Here,
    extension: str,
    tenant: str | None,
    password_stdin: bool,
    generate: bool,
    cluster: str | None,
) -> None:
    """Set a user's password."""
    from pbxctl.commands.loading import engine_of

    must_be_extension(extension)
    name = here.choose(cluster)
    secret = obtain(stdin=password_stdin, generate=generate, json=here.out.json)

    async def run(engine: Engine) -> str:
        async with store(engine, name, tenant) as users:
            await users.owned(extension)
            fields = ha1s(extension, users.realm, secret)
            path = user_path(users.tenant.name, extension)
            await users.client.send("PATCH", path, fields)
            return users.tenant.name

    whose = trio.run(run, engine_of(here, name))
    _done(here, "password set", whose, extension, secret if generate else None)


@click.command("pin")
@click.argument("extension")
@click.option("--reset", is_flag=True, required=True, help="Take the PIN away.")
@tenant_option
@which
@common
def pin(here: Here, extension: str, reset: bool, tenant: str | None, cluster: str | None) -> None:
    """Take away a forgotten PIN of a voicemail box, and unlock it.

    The user makes another one from the own phone. It may be a user of the spec.
    """
    from pbxctl.commands.loading import engine_of

    del reset  # it is required: what there is to do is said, not implied
    must_be_extension(extension)
    name = here.choose(cluster)

    async def run(engine: Engine) -> str:
        async with store(engine, name, tenant) as users:
            whose = users.tenant.name
            path = f"/v1/tenants/{quote(whose, safe='')}/voicemail/{quote(extension, safe='')}/pin"
            await users.client.send("DELETE", path)
            return whose

    whose = trio.run(run, engine_of(here, name))
    _done(here, "PIN reset", whose, extension, None)


@click.command("remove")
@click.argument("extension")
@tenant_option
@which
@common
def remove(here: Here, extension: str, tenant: str | None, cluster: str | None) -> None:
    """Remove a user; its phones can no longer register."""
    from pbxctl.commands.loading import engine_of

    must_be_extension(extension)
    name = here.choose(cluster)

    async def run(engine: Engine) -> str:
        async with store(engine, name, tenant) as users:
            await users.owned(extension)
            await users.client.send("DELETE", user_path(users.tenant.name, extension))
            return users.tenant.name

    whose = trio.run(run, engine_of(here, name))
    _done(here, "removed", whose, extension, None)


def _done(here: Here, what: str, tenant: str, extension: str, secret: str | None) -> None:
    if here.out.json:
        result: dict[str, object] = {"done": what, "tenant": tenant, "extension": extension}
        if secret is not None:
            result["password"] = secret
        here.out.value(result)
        return
    here.out.line(f"{tenant} {extension}: {what}")
    if secret is not None:
        here.out.line(f"password: {secret}   (shown this once; it is kept nowhere)")

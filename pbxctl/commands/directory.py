"""What the `users` commands share: the tenant, its realm, one page of users after the other."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import click
import msgspec

from pbxctl.admin_client import AdminClient, AdminError, user_path, users_path
from pbxctl.commands.failure import CommandError
from pbxctl.engines.engine import Engine
from pbxctl.observe import call_manager, held
from pbxctl.plan import EMPTY_DIGESTS
from pbxctl.registry_client import RegistryClient
from services.core import configuration
from services.core.configuration import Tenant, User

PAGE = 5000
SHOWN = 10
"""Extensions that an error names."""
F = TypeVar("F", bound=Callable[..., Any])


class Listed(User, frozen=True, kw_only=True, omit_defaults=False):
    """A user as the API lists it, without HA1s. ``source`` is ``spec`` or ``api``."""

    source: str = ""
    can_register: bool = False


def tenant_option(command: F) -> F:
    """Adds ``--tenant``; needed only where there are several."""
    return click.option(
        "--tenant", metavar="NAME", help="Whose user; not needed where there is one tenant."
    )(command)


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """A Call Manager's users of one tenant."""

    client: AdminClient
    tenant: Tenant

    @property
    def realm(self) -> str:
        """The digest realm, which HA1s are made for."""
        return self.tenant.domains[0]

    async def find(self, extension: str) -> Listed | None:
        """One user, None if there is none. Raises AdminError."""
        try:
            return await self.client.get(user_path(self.tenant.name, extension), Listed)
        except AdminError as error:
            if error.status == 404:
                return None
            raise

    async def owned(self, extension: str) -> Listed:
        """One user that may be changed here. Raises CommandError where it is not."""
        user = await self.find(extension)
        if user is None:
            raise CommandError(f"{self.tenant.name} has no user {extension}")
        if user.source == "spec":
            raise in_spec(self.tenant.name, extension)
        return user

    async def all(self) -> AsyncIterator[Listed]:
        """Every user, by extension. Raises AdminError."""
        after: str | None = None
        while True:
            page = await self.client.get(
                users_path(self.tenant.name), list[Listed], after=after, limit=PAGE
            )
            for user in page:
                yield user
            if len(page) < PAGE:
                return
            after = page[-1].extension

    async def of_the_spec(self) -> dict[str, Listed]:
        """Users that the spec owns, by extension. Raises AdminError."""
        digests = (await held(self.client)).directories
        if digests.get(self.tenant.name, "") in EMPTY_DIGESTS:
            return {}
        return {user.extension: user async for user in self.all() if user.source == "spec"}


def in_spec(tenant: str, extension: str) -> CommandError:
    """The refusal to change here what the spec says."""
    return CommandError(
        f"{tenant} {extension} belongs to the spec: change it there and run pbxctl apply; "
        "nothing was changed",
        facts={"tenant": tenant, "extension": extension, "source": "spec"},
    )


async def documents_of(engine: Engine, cluster: str) -> dict[str, bytes]:
    """The configuration's documents. Raises EngineError and RegistryError."""
    endpoints = await engine.endpoints()
    with RegistryClient.of(endpoints, cluster) as registry:
        _, documents = await registry.documents()
    return documents


EXTENSION = re.compile(r"[0-9*#]{2,15}")


def must_be_extension(extension: str) -> None:
    """Raises CommandError for what cannot be one."""
    if not EXTENSION.fullmatch(extension):
        raise CommandError(f'"{extension}" is no extension: expected 2 to 15 digits, * or #')


async def must_be_known(
    client: AdminClient, documents: dict[str, bytes], tenant: str | None, extension: str | None
) -> None:
    """Raises CommandError for a tenant, or an extension of it or of any, that there is not."""
    names = [choose(documents, tenant).name] if tenant is not None else tenants_of(documents)
    if extension is None:
        return
    must_be_extension(extension)
    some: list[str] = []
    for name in names:
        own = Store(client=client, tenant=choose(documents, name))
        if await own.find(extension) is not None:
            return
        page = await client.get(users_path(name), list[Listed], limit=SHOWN + 1)
        some += [user.extension for user in page]
    listed = ", ".join(some[:SHOWN]) or "none"
    more = ", … (pbxctl users list)" if len(some) > SHOWN else ""
    whose = tenant or "no tenant"
    has = "has no" if tenant is not None else "has a"
    raise CommandError(f"{whose} {has} user {extension}; the users are {listed}{more}")


@asynccontextmanager
async def store(engine: Engine, cluster: str, tenant: str | None) -> AsyncGenerator[Store]:
    """The users of a tenant, the only one if none is named."""
    async with call_manager(engine, cluster) as client:
        documents = await documents_of(engine, cluster)
        yield Store(client=client, tenant=choose(documents, tenant))


def tenants_of(documents: dict[str, bytes]) -> list[str]:
    """Names of the configuration's tenants, sorted."""
    return sorted(k.removeprefix("tenants/") for k in documents if k.startswith("tenants/"))


def choose(documents: dict[str, bytes], name: str | None) -> Tenant:
    """The tenant of that name among the configuration's. Raises CommandError."""
    tenants = tenants_of(documents)
    known = ", ".join(tenants) or "none"
    if name is None:
        if len(tenants) != 1:
            raise CommandError(f"say whose with --tenant; the tenants are {known}")
        (name,) = tenants
    if name not in tenants:
        raise CommandError(f"no tenant is named {name}; the tenants are {known}")
    return configuration.decode(documents[f"tenants/{name}"], Tenant)

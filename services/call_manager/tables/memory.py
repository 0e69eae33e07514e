"""Tables without a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.call_manager.routing.dialling import RouteTable
from services.call_manager.routing.uri import host
from services.call_manager.tables.model import (
    AppServer,
    MediaServer,
    Networks,
    Number,
    Picture,
    addresses,
    domains,
)
from services.core.configuration import Tenant, Trunk, User


class MemoryTables:
    """`Tables` made of plain values, for tests and tools."""

    def __init__(
        self,
        picture: Picture,
        users: Iterable[User] = (),
        sources: Mapping[str, str] | None = None,
        media: Iterable[MediaServer] = (),
        apps: Iterable[AppServer] = (),
    ) -> None:
        self.cluster = picture.cluster
        self.routes = RouteTable(picture.routes)
        self.media: Mapping[str, MediaServer] = {server.name: server for server in media}
        self.apps: Mapping[str, AppServer] = {server.key: server for server in apps}
        self.trunks: Mapping[str, Trunk] = {trunk.name: trunk for trunk in picture.trunks}
        self._tenants = {tenant.name: tenant for tenant in picture.tenants}
        self._domains = domains(picture.tenants)
        self._numbers = dict(picture.numbers)
        self._users = {(user.tenant, user.extension): user for user in users}
        self._sources = dict(sources or {})
        self._addresses = addresses(self._sources)
        self._networks = Networks(picture.trunks)

    def tenant(self, name: str) -> Tenant | None:
        return self._tenants.get(name)

    def tenant_of(self, domain: str) -> Tenant | None:
        return self._tenants.get(self._domains.get(domain, ""))

    def user(self, tenant: str, extension: str) -> User | None:
        return self._users.get((tenant, extension))

    def number(self, number: str) -> Number | None:
        return self._numbers.get(number)

    def app_at(self, address: str, port: int | str) -> AppServer | None:
        source = f"{host(address)}:{port}"
        return next((server for server in self.apps.values() if server.sip == source), None)

    def trunk_of(self, address: str) -> Trunk | None:
        name = self._sources.get(address) or self._networks.find(address)
        return self.trunks.get(name) if name else None

    def address_of(self, trunk: str) -> str:
        return self._addresses.get(trunk, "")

    def port_of(self, trunk: str) -> int:  # noqa: ARG002 - the protocol's
        return 0

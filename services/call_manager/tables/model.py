"""What the tables say, and what routing may ask of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, Protocol

import msgspec

from services.call_manager.routing.dialling import RouteTable
from services.core.configuration import Cluster, Destination, Document, Route, Tenant, Trunk, User

REMEMBERED = 20_000
"""Source addresses whose trunk, or lack of one, a worker keeps until the tables change."""

ServerState = Literal["up", "draining", "disabled", "down"]


class Number(Document, frozen=True, kw_only=True):
    """A public number's owner and where its calls go."""

    tenant: str
    destination: Destination


class MediaServer(Document, frozen=True, kw_only=True):
    """A media server as routing sees it.

    ``set`` is its number in Kamailio's ``rtpengine`` table; ``control`` and ``announce`` are
    ``address:port``; ``capacity`` is simultaneous calls. Only ``up`` gets new calls; a draining or
    disabled one keeps those it has. ``home`` is the name of its floating address, if it has one;
    ``by`` is who carries its calls then: itself, or the server that has taken the address over, and
    ``set`` is that one's.
    """

    name: str
    set: int
    control: str
    announce: str
    capacity: int
    state: ServerState = "up"
    home: str = ""
    by: str = ""

    @property
    def control_address(self) -> tuple[str, int]:
        """Host and port of ``control``."""
        host, _, port = self.control.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def carrier(self) -> str:
        """Name of the server that its calls are on now."""
        return self.by or self.name


class AppServer(Document, frozen=True, kw_only=True):
    """A server of a role that takes calls itself: IVR.

    ``sip`` is ``address:port``, where it takes calls over UDP and where its own come from;
    ``capacity`` is simultaneous calls. ``there``: its calls are its own still, whatever its state.
    """

    name: str
    role: str
    sip: str
    capacity: int
    state: ServerState = "up"
    there: bool = True

    @property
    def key(self) -> str:
        """``ivr/app1``: a server may have several roles."""
        return f"{self.role}/{self.name}"


class Target(NamedTuple):
    """Where a trunk's calls go: a resolved address, and a port where DNS says one, else 0."""

    address: str
    port: int


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """One manifest's worth of configuration. Numbers are E.164 with plus."""

    cluster: Cluster
    routes: tuple[Route, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    trunks: tuple[Trunk, ...] = ()
    numbers: Mapping[str, Number] = {}


class Tables(Protocol):
    """What a routing decision may ask: look-ups in memory that give None for what is absent."""

    @property
    def cluster(self) -> Cluster: ...
    @property
    def routes(self) -> RouteTable: ...
    @property
    def media(self) -> Mapping[str, MediaServer]: ...
    @property
    def apps(self) -> Mapping[str, AppServer]:
        """Application servers by ``<role>/<server>``."""
        ...

    @property
    def trunks(self) -> Mapping[str, Trunk]: ...
    def tenant(self, name: str) -> Tenant | None: ...
    def tenant_of(self, domain: str) -> Tenant | None:
        """The tenant that owns a SIP domain, in lower case."""
        ...

    def user(self, tenant: str, extension: str) -> User | None: ...
    def number(self, number: str) -> Number | None: ...
    def app_at(self, address: str, port: int | str) -> AppServer | None:
        """The application server whose calls come from there."""
        ...

    def trunk_of(self, address: str) -> Trunk | None:
        """The trunk whose calls come from this IP address."""
        ...

    def address_of(self, trunk: str) -> str:
        """The best address that the agent resolved a trunk's host to, or ""."""
        ...

    def port_of(self, trunk: str) -> int:
        """The port that DNS says for that address, 0 for the transport's usual one."""
        ...


class Networks:
    """Longest match of an address in the trunks' CIDRs: one dictionary look-up a prefix length."""

    def __init__(self, trunks: Iterable[Trunk]) -> None:
        self._tables: dict[tuple[int, int], dict[int, str]] = {}
        self._found: dict[str, str | None] = {}
        for trunk in trunks:
            for text in trunk.addresses:
                network = ipaddress.ip_network(text, strict=False)
                key = (network.version, network.prefixlen)
                base = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
                self._tables.setdefault(key, {}).setdefault(base, trunk.name)
        self._order = sorted(self._tables, reverse=True)

    def find(self, address: str) -> str | None:
        """The trunk's name, or None; None too for what is no address."""
        if not self._order:
            return None
        if address in self._found:
            return self._found[address]
        if len(self._found) >= REMEMBERED:
            self._found.clear()
        self._found[address] = found = self._find(address)
        return found

    def _find(self, address: str) -> str | None:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return None
        number = int(parsed)
        for version, length in self._order:
            if version == parsed.version:
                name = self._tables[version, length].get(number >> (parsed.max_prefixlen - length))
                if name is not None:
                    return name
        return None


def domains(tenants: Iterable[Tenant]) -> dict[str, str]:
    """Every SIP domain, in lower case, and its tenant's name."""
    return {domain.lower(): tenant.name for tenant in tenants for domain in tenant.domains}


def addresses(sources: Mapping[str, str]) -> dict[str, str]:
    """The first address of each trunk: which one is first stays the same while the table does."""
    return {trunk: address for address, trunk in sorted(sources.items(), reverse=True)}

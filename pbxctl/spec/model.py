"""A spec that has been read: typed, with every default filled in and every secret resolved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from itertools import islice

import msgspec

from pbxctl.spec.formats import Address, Peer
from services.core.configuration import (
    Destination,
    Encryption,
    Prompts,
    Recording,
    RingGroup,
    Route,
    Security,
    User,
    Voicemail,
)
from services.core.menus import Hours, Menu

CALLS = {"call-manager": 10000, "media": 2500, "ivr": 1000}
"""Simultaneous calls of a server by role, where the spec gives none."""
COMES_WITH = {"database": "call-manager", "live": "call-manager"}
"""Roles that no spec names: with Nomad, every server with the one on the right has them."""
MOST_MEDIA_ADDRESSES = 64
"""Each is an interface of its own, with ports of its own, on every media server."""


def pool(given: Iterable[str]) -> Iterator[Address]:
    """The addresses in a list of addresses and networks: of a network, those that hosts can have.

    Of a network that is too large, only one more than `MOST_MEDIA_ADDRESSES`.
    """
    for each in given:
        yield from islice(ip_network(each).hosts(), MOST_MEDIA_ADDRESSES + 1)


class Secret(msgspec.Struct, frozen=True):
    """A resolved secret; it prints as stars."""

    value: str

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """``calls`` 0 is the role's own default; ``shared_memory`` is in MiB."""

    calls: int = 0
    workers: int = 4
    shared_memory: int = 512


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """``media_address`` is filled in: it is ``address`` where the spec has none."""

    name: str
    address: str
    roles: tuple[str, ...]
    capacity: Capacity = Capacity()
    media_address: str = ""

    @property
    def floats(self) -> bool:
        """Whether its media address is one of its own, that another server can take over."""
        return ip_address(self.media_address) != ip_address(self.address)

    def calls(self, role: str) -> int:
        """Simultaneous calls it is sized for in this role."""
        return self.capacity.calls or CALLS[role]


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Ports that servers listen on."""

    sip: int = 5060
    tls: int = 5061
    wss: int = 8443
    admin: int = 7080
    media_admin: int = 7081
    control: int = 2223
    announce: int = 5090
    ivr: int = 5070
    ivr_audio: int = 18000
    ivr_admin: int = 7082
    registry: int = 8500
    probe: int = 7100
    dmq: int = 5066
    database: int = 5432
    live: int = 6380


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """``vip`` is filled in, without its prefix length: that is ``vip_prefix``, 0 if not given.

    ``vip6`` has its prefix length with it, and is empty if there is none. ``media_addresses`` are
    addresses and networks as given; `ClusterSpec.media_addresses` are the addresses.
    """

    vip: str
    vip_prefix: int = 0
    vip6: str = ""
    public_address: str = ""
    media_addresses: tuple[str, ...] = ()
    media_from: int = 20000
    media_to: int = 59999
    ports: Ports = Ports()


class Install(msgspec.Struct, frozen=True, kw_only=True):
    """Where programs and state are on the hosts; ``{release}`` in ``prefix`` is replaced."""

    prefix: str = "/opt/pbx/{release}"
    state: str = "/var/lib/pbx"


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """``expires`` in seconds."""

    username: str
    password: Secret
    realm: str = ""
    expires: int = 600


class Trunk(msgspec.Struct, frozen=True, kw_only=True):
    """``options_interval`` in seconds."""

    name: str
    peer: Peer
    addresses: tuple[str, ...] = ()
    register: Registration | None = None
    channels: int = 0
    caller_id: str = ""
    strip_plus: bool = False
    country: str = ""
    international: str = "00"
    national: str = "0"
    options_interval: int = 30
    record: bool = False


class Smtp(msgspec.Struct, frozen=True, kw_only=True):
    """``encryption`` is filled in; ``ca`` is PEM, empty where the system's authorities do."""

    host: str
    port: int = 587
    encryption: Encryption = "starttls"
    username: str = ""
    password: Secret | None = None
    ca: str = ""


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    """``sender`` is the spec's ``from``; times in seconds."""

    email: tuple[str, ...] = ()
    sender: str = ""
    well_for: int = 30
    trunks_after: int = 300
    smtp: Smtp | None = None


class Dialling(msgspec.Struct, frozen=True, kw_only=True):
    country: str = ""
    international: str = "00"
    national: str = "0"
    outside: str = ""


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """``users`` are sorted by extension and hold HA1s, no passwords.

    ``sounds`` are the files that its menus play, by the SHA-256 of their bytes. ``authorizations``
    are the values of that header that its menus send, by `services.core.menus.Fetch.authorization`.
    """

    name: str
    domains: tuple[str, ...]
    language: str = "en"
    main_number: str = ""
    dialling: Dialling = Dialling()
    max_calls: int = 0
    users: tuple[User, ...] = ()
    numbers: dict[str, Destination] = {}
    ring_groups: dict[str, RingGroup] = {}
    menus: dict[str, Menu] = {}
    hours: dict[str, Hours] = {}
    sounds: dict[str, bytes] = {}
    authorizations: dict[str, Secret] = {}
    emergency: tuple[str, ...] = ()
    record: bool = False
    voicemail: Voicemail = Voicemail()
    prompts: Prompts = Prompts()


class ClusterSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The whole spec. Routes, security and recording are as roles read them.

    ``release`` is empty where the spec leaves it to what is installed.
    """

    cluster: str
    engine: str
    release: str
    max_calls: int
    network: Network
    servers: tuple[Server, ...]
    trunks: dict[str, Trunk]
    routes: tuple[Route, ...]
    security: Security
    recording: Recording
    alerts: Alerts
    tenants: tuple[Tenant, ...]
    install: Install = Install()

    def with_role(self, role: str) -> tuple[Server, ...]:
        """The servers that have a role, in the spec's order.

        Those that come by themselves (`COMES_WITH`) are on the servers of the role they come with.
        """
        named = COMES_WITH.get(role, role)
        if named != role and self.engine != "nomad":
            return ()
        return tuple(server for server in self.servers if named in server.roles)

    @property
    def media_addresses(self) -> tuple[str, ...]:
        """Every address that a media server may hold, none on one machine; sorted."""
        if self.engine != "nomad":
            return ()
        found = set(pool(self.network.media_addresses))
        found.update(
            ip_address(server.media_address)
            for server in self.with_role("media")
            if server.floats and not self.network.media_addresses
        )
        return tuple(str(each) for each in sorted(found, key=lambda each: (each.version, each)))

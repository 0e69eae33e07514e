"""Which servers of a role may get calls: the registry's word and the administrator's. Pure.

The least loaded of them is chosen in `routing.server_choice`, where the call is.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Generic, TypeVar

import msgspec

from services.call_manager.tables import AppServer, MediaServer, ServerState
from services.core.configuration import ENABLED, Switch
from services.core.discovery import Instance

HOLD = 15.0
"""Seconds for which a registry without any media server is not believed: it may have come back
empty, and the servers tell it of themselves within this time."""
FORGET = 3600.0
"""Seconds that a server which left is remembered: calls that it carries are still to be ended."""
SETS = 1_000_000_000

S = TypeVar("S", MediaServer, AppServer)


class Pool(Generic[S]):
    """The servers of one role as they were last seen. Times are monotonic seconds.

    ``read`` makes one of a registered instance, or None of what is not this cluster's.
    """

    def __init__(self, read: Callable[[Instance], S | None]) -> None:
        self._read = read
        self._servers: dict[str, S] = {}
        self._passing: set[str] = set()
        self._gone: dict[str, float] = {}
        self._lost: frozenset[str] = frozenset()
        self._empty_since: float | None = None

    def restore(self, servers: Iterable[S], now: float) -> None:
        """Begin with what the tables hold, as it was, until the registry says otherwise."""
        for server in servers:
            self._servers[server.name] = server
            if server.state != "down":
                self._passing.add(server.name)
        self._empty_since = now

    def see(self, instances: Iterable[Instance], now: float) -> None:
        """Take the registry's picture of the role's service."""
        seen: set[str] = set()
        passing: set[str] = set()
        for instance in instances:
            server = self._read(instance)
            if server is None:
                continue
            seen.add(server.name)
            self._servers[server.name] = server
            if instance.passing:
                passing.add(server.name)
        if not seen:
            if self._empty_since is None:
                self._empty_since = now
            self.tick(now)
            return
        self._empty_since = None
        self._passing = passing
        for name in seen:
            self._gone.pop(name, None)
        for name in list(self._servers.keys() - seen):
            if now >= self._gone.setdefault(name, now) + FORGET:
                del self._servers[name], self._gone[name]

    def see_lost(self, servers: Iterable[str]) -> None:
        """Take the failure detector's word on servers: they get no new calls."""
        self._lost = frozenset(servers)

    @property
    def lost(self) -> frozenset[str]:
        """Names of the servers that a majority of managers cannot reach."""
        return self._lost

    def tick(self, now: float) -> None:
        """Time has passed: a registry that stays empty is believed in the end."""
        if self._empty_since is not None and now >= self._empty_since + HOLD:
            self._passing = set()

    def state(self, name: str, switch: Switch, *, fit: bool = True) -> ServerState:
        """What a server is good for; ``fit``: nothing else keeps it from taking calls."""
        # The administrator's word before the check's: who disabled a server wants to see that.
        if switch.state != "enabled":
            return switch.state
        return "up" if fit and self.well(name) else "down"

    def well(self, name: str) -> bool:
        """Whether a server passes its check and the managers reach it."""
        return name in self._passing and name not in self._lost


class Apps(Pool[AppServer]):
    """The application servers of one role."""

    def __init__(self, role: str, cluster: str) -> None:
        super().__init__(lambda instance: _app(instance, role, cluster))
        self.role = role

    def servers(self, switches: Mapping[str, Switch]) -> tuple[AppServer, ...]:
        """The servers by name. ``switches`` is by server."""
        return tuple(
            msgspec.structs.replace(
                server,
                state=self.state(name, switches.get(name, ENABLED)),
                # One that only fails its check goes on with its calls; who has left does not.
                there=name not in self._lost and name not in self._gone,
            )
            for name, server in sorted(self._servers.items())
        )


class Fleet(Pool[MediaServer]):
    """The media servers of a cluster, and who carries whose calls."""

    def __init__(self, cluster: str) -> None:
        super().__init__(lambda instance: _server(instance, cluster))
        self._holders: dict[str, str] = {}

    def restore(self, servers: Iterable[MediaServer], now: float) -> None:
        """Begin with what the tables hold, as it was, until the registry says otherwise."""
        known = tuple(servers)
        super().restore(known, now)
        for server in known:
            if server.home and server.by:
                self._holders[server.home] = server.by

    def see_holders(self, holders: Mapping[str, str]) -> None:
        """Take the registry's word on who has which floating media address: server by its name."""
        self._holders = dict(holders)

    def _by(self, name: str) -> str:
        """Who carries a server's calls; empty for one whose address does not move."""
        home = self._servers[name].home
        if not home:
            return ""
        holder = self._holders.get(home, "")
        return holder if holder in self._servers else name

    def servers(
        self, switches: Mapping[str, Switch], loaded: Collection[int]
    ) -> tuple[MediaServer, ...]:
        """The servers by name. ``switches`` is by server; ``loaded``: sets that Kamailio knows."""
        found: list[MediaServer] = []
        numbers = set_numbers(self._servers)
        for name, number in numbers.items():
            by = self._by(name)
            # New calls would be set up on an address that is elsewhere, or nowhere.
            home = self._servers[name].home
            here = not home or self._holders.get(home) == name
            fit = here and number in loaded
            state = self.state(name, switches.get(name, ENABLED), fit=fit)
            found.append(
                msgspec.structs.replace(
                    self._servers[name], set=numbers[by or name], state=state, by=by
                )
            )
        return tuple(found)

    @property
    def passing(self) -> frozenset[str]:
        """Names of the servers whose calls' media are well by the check of who carries them,
        whatever an administrator says."""
        return frozenset(n for n in self._servers if (self._by(n) or n) in self._passing)

    def sets(self) -> dict[int, str]:
        """What Kamailio's ``rtpengine`` table has to hold: set number to control address."""
        return {
            number: f"udp:{self._servers[name].control}"
            for name, number in set_numbers(self._servers).items()
        }


def carrier(servers: Iterable[MediaServer], name: str) -> MediaServer | None:
    """The server that carries another's calls, or its own; None if it is not known."""
    known = {server.name: server for server in servers}
    server = known.get(name)
    return None if server is None else known.get(server.carrier, server)


def set_numbers(names: Iterable[str]) -> dict[str, int]:
    """A set number for each name: the same in every Call Manager, with nothing to agree on."""
    numbers: dict[str, int] = {}
    taken: set[int] = set()
    for name in sorted(names):
        number = zlib.crc32(name.encode()) % SETS + 1
        while number in taken:
            number += 1
        taken.add(number)
        numbers[name] = number
    return numbers


def _server(instance: Instance, cluster: str) -> MediaServer | None:
    """The instance as a media server; None for another cluster's or one that says too little."""
    meta = instance.meta
    if meta.get("cluster") != cluster:
        return None
    try:
        return MediaServer(
            name=meta["server"],
            set=0,
            control=meta["control"],
            announce=meta["announce"],
            capacity=int(meta["capacity"]),
            home=meta.get("home", ""),
        )
    except (KeyError, ValueError):
        return None


def _app(instance: Instance, role: str, cluster: str) -> AppServer | None:
    """The instance as an application server; None for another cluster's or one that says little."""
    meta = instance.meta
    if meta.get("cluster") != cluster:
        return None
    try:
        return AppServer(
            name=meta["server"], role=role, sip=meta["sip"], capacity=int(meta["capacity"])
        )
    except (KeyError, ValueError):
        return None

"""Keeps the table of application servers in step with registry and switches."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from services.call_manager.balancer import Apps
from services.call_manager.state import State
from services.call_manager.tables import AppServer, TablesWriter
from services.core.discovery import Registry

log = logging.getLogger(__name__)

ROLES = ("ivr",)
EVERY = 1.0


class AppServers:
    """`follow` takes the registry's pictures of one role, `keep` makes the table agree with all."""

    def __init__(self, cluster: str, state: State, tables: TablesWriter) -> None:
        self._pools = {role: Apps(role, cluster) for role in ROLES}
        self._state = state
        self._tables = tables
        self._wake = trio.Event()

    def restore(self, servers: tuple[AppServer, ...]) -> None:
        """Begin with what the tables hold."""
        for role, pool in self._pools.items():
            own = [server for server in servers if server.role == role]
            pool.restore(own, trio.current_time())
        self._state.apps = servers

    def now(self) -> None:
        """Have `keep` look at once."""
        self._wake.set()

    def see_lost(self, down: frozenset[tuple[str, str]]) -> None:
        """Take the failure detector's word: pairs of role and server that get no new calls."""
        for role, pool in self._pools.items():
            pool.see_lost(server for kind, server in down if kind == role)
        self.now()

    async def follow(self, registry: Registry, role: str, well: Callable[[], None]) -> None:
        """Take pictures of a role's service, for ever."""
        async for instances in registry.watch_health(role):
            self._pools[role].see(instances, trio.current_time())
            self.now()
            well()

    async def keep(self, well: Callable[[], None]) -> None:
        """Make it so, for ever. Raises lmdb.Error where the disk refuses."""
        while True:
            found: list[AppServer] = []
            for role, pool in self._pools.items():
                pool.tick(trio.current_time())
                switches = {
                    server: switch
                    for (of, server), switch in self._state.switched.items()
                    if of == role
                }
                found += pool.servers(switches)
            servers = tuple(found)
            if servers != self._state.apps:
                await trio.to_thread.run_sync(self._tables.write_apps, servers)
                self._state.apps = servers
                said = ", ".join(f"{server.key} {server.state}" for server in servers)
                log.info("application servers: %s", said or "none")
            well()
            with trio.move_on_after(EVERY):
                await self._wake.wait()
            self._wake = trio.Event()

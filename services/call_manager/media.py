"""Keeps the media table and Kamailio's rtpengine sets in step with registry and switches."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from services.call_manager import control
from services.call_manager.balancer import Fleet
from services.call_manager.rpc import Rpc, RpcError
from services.call_manager.state import State
from services.call_manager.tables import TablesWriter
from services.core.configuration import prefix
from services.core.discovery import Registry
from services.core.store import Database, StoreError, media_sets
from services.core.vip import holder_of

log = logging.getLogger(__name__)

EVERY = 1.0
RELOAD = 5.0
SETTLE = 0.5
"""Seconds for which more servers are waited for: Kamailio reloads once in 10 s at most."""


class Media:
    """`follow` takes the registry's pictures, `keep` makes tables and Kamailio agree with them."""

    def __init__(
        self, fleet: Fleet, state: State, tables: TablesWriter, database: Database, rpc: Rpc
    ) -> None:
        self._fleet = fleet
        self._state = state
        self._tables = tables
        self._database = database
        self._rpc = rpc
        self._wake = trio.Event()
        self._loaded: dict[int, str] = {}
        self._stored: dict[int, str] | None = None
        self._reload_since = float("inf")

    def now(self) -> None:
        """Have `keep` look at once."""
        self._wake.set()

    async def follow(self, registry: Registry, well: Callable[[], None]) -> None:
        """Take pictures of the service ``media``, for ever."""
        async for instances in registry.watch_health("media"):
            self._fleet.see(instances, trio.current_time())
            self.now()
            well()

    async def follow_holders(
        self, registry: Registry, cluster: str, well: Callable[[], None]
    ) -> None:
        """Take pictures of who has which floating media address, for ever."""
        root = f"{prefix(cluster)}floating/media/"
        async for values in registry.watch(root):
            held = {key.removeprefix(root): holder_of(value) for key, value in values.items()}
            self._fleet.see_holders(held)
            self.now()
            well()

    async def keep(self, well: Callable[[], None]) -> None:
        """Make it so, for ever. Raises lmdb.Error where the disk refuses."""
        while True:
            await self._sets()
            self._fleet.tick(trio.current_time())
            servers = self._fleet.servers(self._state.switches, self._usable())
            if servers != self._state.media:
                await trio.to_thread.run_sync(self._tables.write_media, servers)
                self._state.media = servers
                said = ", ".join(f"{server.name} {server.state}" for server in servers)
                log.info("media servers: %s", said or "none")
            well()
            with trio.move_on_after(EVERY):
                await self._wake.wait()
            self._wake = trio.Event()

    def _usable(self) -> set[int]:
        """Sets that Kamailio has at the address where the server is now."""
        wanted = self._fleet.sets()
        return {number for number, url in wanted.items() if self._loaded.get(number) == url}

    async def _sets(self) -> None:
        wanted = self._fleet.sets()
        if wanted != self._stored:
            try:
                await trio.to_thread.run_sync(self._store, wanted)
            except StoreError as error:
                self._state.tell("media sets", f"media servers cannot be changed: {error}")
                return
            self._stored = wanted
            self._reload_since = trio.current_time() + SETTLE
        try:
            self._loaded = await control.loaded_sets(self._rpc)
            if self._missing(wanted):
                self._reload_since = min(self._reload_since, trio.current_time() + SETTLE)
                if trio.current_time() >= self._reload_since:
                    await self._rpc("rtpengine.reload", timeout=RELOAD)
                    self._loaded = await control.loaded_sets(self._rpc)
        except RpcError as error:
            # What was loaded stays loaded; a Kamailio that starts reads the table itself.
            if "try later" not in str(error):
                self._state.tell("media sets", str(error))
                return
        missing = self._missing(wanted)
        if not missing:
            self._reload_since = float("inf")
        servers = "1 media server" if len(missing) == 1 else f"{len(missing)} media servers"
        waiting = f"Kamailio has yet to take up {servers}; it may take 10 s"
        self._state.tell("media sets", waiting if missing else "")

    def _missing(self, wanted: dict[int, str]) -> list[int]:
        return [number for number, url in wanted.items() if self._loaded.get(number) != url]

    def _store(self, wanted: dict[int, str]) -> None:
        with self._database.write() as connection:
            media_sets.put(connection, wanted)

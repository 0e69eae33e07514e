"""Takes the bindings of users away who may register no more: their phones are off at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import trio

from services.call_manager import control
from services.call_manager.rpc import Rpc, RpcError
from services.call_manager.tables import TablesReader
from services.core.configuration import User

log = logging.getLogger(__name__)

BATCH = 50
PAUSE = 0.05
"""Seconds between batches: a tenant of 100,000 that goes must not keep Kamailio busy."""
RETRY = 1.0


class Deregistration:
    """Users whose bindings have to go. In memory: who remains after a crash cannot be called."""

    def __init__(self, rpc: Rpc, tables: TablesReader) -> None:
        self._rpc = rpc
        self._tables = tables
        self._waiting: dict[tuple[str, str], None] = {}
        self._wake = trio.Event()

    def add(self, users: Iterable[tuple[str, str]]) -> None:
        """Tenants and extensions that were removed or changed; the tables have them already."""
        self._waiting.update(dict.fromkeys(users))
        if self._waiting:
            self._wake.set()

    async def follow(self, well: Callable[[], None]) -> None:
        """Work for ever; what Kamailio was not there for is asked again."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            removed = 0
            while batch := list(self._waiting)[:BATCH]:
                # Asked now, for who came back meanwhile keeps its bindings.
                self._tables.refresh()
                for tenant, extension in batch:
                    if not may_register(self._tables.user(tenant, extension)):
                        removed += await self._remove(tenant, extension)
                    self._waiting.pop((tenant, extension), None)
                well()
                await trio.sleep(PAUSE)
            if removed:
                log.info("bindings of %d users who may not register taken away", removed)

    async def _remove(self, tenant: str, extension: str) -> bool:
        while True:
            try:
                return await control.unbind(self._rpc, tenant, extension)
            except RpcError as error:
                log.warning("%s %s keeps its bindings for now: %s", tenant, extension, error)
            # One that starts again reads the bindings from its database.
            await trio.sleep(RETRY)


def may_register(user: User | None) -> bool:
    """Whether a user is there, enabled and has a password."""
    return user is not None and user.enabled and bool(user.ha1_md5 or user.ha1_sha256)

"""Copies users from the store to the tables: all of them once, then what changed since."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import trio

from services.call_manager.tables import EncodedUser, TablesWriter
from services.core.store import Database, StoreError, users
from services.core.store.users import Changed

log = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between looks at the store's counter, for what other Call Managers wrote."""

DISABLED, PASSWORD = b'"enabled":false', b'"ha1_'
"""In the JSON of those who may not, or of those who can register: quicker than decoding all."""
Key = tuple[str, str]
"""Tenant and extension."""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Which store was copied, up to which change, and in which run of the host.

    The tables are not synced to disk, so after a crash of the host they may have gone back.
    """

    store: str = ""
    change: int = 0
    boot: str = ""


class UserCopy:
    """Follows the store. ``problem`` is empty while the tables have what the store has."""

    def __init__(self, database: Database, tables: TablesWriter) -> None:
        self._database = database
        self._tables = tables
        self._mark = _read(tables.mark)
        self._boot = _boot_id()
        self._lock = trio.Lock()
        self._wake = trio.Event()
        self._tell: Callable[[list[Key]], None] = lambda _: None
        self.problem = "" if tables.complete else "users are being copied"

    async def follow(self, well: Callable[[], None]) -> None:
        """Copy for ever: every `EVERY` seconds and whenever `now` was called."""
        while True:
            await self.copy()
            well()
            with trio.move_on_after(EVERY):
                await self._wake.wait()
            self._wake = trio.Event()

    def tell(self, changed: Callable[[list[Key]], None]) -> None:
        """Have ``changed`` called with users who were removed or may not register any more."""
        self._tell = changed

    def now(self) -> None:
        """Have `follow` look at once."""
        self._wake.set()

    async def copy(self) -> None:
        """Bring the tables to where the store is."""
        gone: list[Key] = []
        async with self._lock:
            try:
                # Not given up half way: the next one would begin while this one still writes.
                await trio.to_thread.run_sync(self._copy, gone)
            except StoreError as error:
                if not self.problem:
                    log.warning("users are followed no more: %s", error)
                self.problem = f"users are as they were: {error}"
            else:
                self.problem = ""
        self._tell(gone)

    def _copy(self, gone: list[Key]) -> None:
        with self._database.read() as connection:
            newest = users.mark(connection)
        target = Mark(store=newest.store, change=newest.change, boot=self._boot)
        if target == self._mark and self._tables.complete:
            return
        known = (self._mark.store, self._mark.boot) == (target.store, target.boot)
        if known and self._mark.change <= target.change and self._tables.complete:
            written, removed = self._follow(self._mark.change, gone)
            log.info("users copied: %d written, %d removed", written, removed)
        else:
            log.info("users copied: all %d of them", self._load(gone))
        self._tables.set_mark(msgspec.json.encode(target))
        self._mark = target

    def _follow(self, since: int, gone: list[Key]) -> tuple[int, int]:
        removed: list[tuple[str, str]] = []

        def written(changes: Iterator[Changed]) -> Iterator[EncodedUser]:
            for change in changes:
                if change.routing is None:
                    removed.append((change.tenant, change.extension))
                else:
                    if DISABLED in change.routing or PASSWORD not in change.routing:
                        gone.append((change.tenant, change.extension))
                    yield EncodedUser(change.tenant, change.extension, change.routing)

        with self._database.read() as connection:
            count = self._tables.put_users(written(users.changes(connection, since)))
        self._tables.remove_users(removed)
        gone += removed
        return count, len(removed)

    def _load(self, gone: list[Key]) -> int:
        def present(changes: Iterator[Changed]) -> Iterator[EncodedUser]:
            for change in changes:
                if change.routing is None:
                    continue
                if DISABLED in change.routing:
                    gone.append((change.tenant, change.extension))
                yield EncodedUser(change.tenant, change.extension, change.routing)

        with self._database.read() as connection:
            return self._tables.load_users(present(users.changes(connection, 0)), removed=gone)


def _read(data: bytes) -> Mark:
    try:
        return msgspec.json.decode(data, type=Mark)
    except msgspec.DecodeError:
        return Mark()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

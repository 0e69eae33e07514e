"""The workers' side of the tables."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from services.call_manager.routing.dialling import RouteTable
from services.call_manager.routing.uri import host
from services.call_manager.tables.environment import MARKER, Environment, user_key
from services.call_manager.tables.model import (
    AppServer,
    MediaServer,
    Networks,
    Number,
    Target,
    addresses,
)
from services.core.configuration import Cluster, Route, Tenant, Trunk, User

USERS_REMEMBERED = 2000
"""Decoded users that a worker keeps until the tables change: a call asks for each several times."""
LOOK_EVERY = 1.0
"""Seconds between looks at whether other files are in the tables' place."""


class TablesReader:
    """`Tables` over LMDB, for a worker. Opened at first use, once a process.

    `refresh` once a request: it drops the users that were decoded if anything was written, and the
    rest if the generation has moved. What changes in between is seen with the next one. Raises
    FileNotFoundError where no writer has made the tables yet.

    Damage raises lmdb.Error or msgspec.DecodeError and is told to the agent by a file, `MARKER`.
    New files in the place of the old ones are opened within `LOOK_EVERY`; what is small stays as it
    was until they have a picture.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pid = 0
        self._refreshed = 0.0
        self._generation = b""
        self._written = -1
        self._inode = 0
        self._looked = 0.0
        self._bare = False
        self._shared: Environment | None = None
        self._recent: dict[bytes, User] = {}
        self._users = msgspec.json.Decoder(User)
        self._numbers = msgspec.json.Decoder(Number)
        self.cluster = Cluster(name="")
        self.routes = RouteTable(())
        self.media: Mapping[str, MediaServer] = {}
        self.apps: Mapping[str, AppServer] = {}
        self._apps_at: dict[str, AppServer] = {}
        self.trunks: Mapping[str, Trunk] = {}
        self._tenants: dict[str, Tenant] = {}
        self._domains: dict[str, str] = {}
        self._sources: dict[str, str] = {}
        self._addresses: dict[str, str] = {}
        self._ports: dict[str, int] = {}
        self._networks = Networks(())

    def refresh_after(self, seconds: float) -> None:
        """`refresh` if the last one in this process is longer ago."""
        if self._pid != os.getpid() or time.monotonic() - self._refreshed > seconds:
            self.refresh()

    def refresh(self) -> bool:
        """Whether anything but users and numbers may have changed since the last call."""
        self._refreshed = now = time.monotonic()
        try:
            if self._pid != os.getpid() or now - self._looked > LOOK_EVERY:
                self._look(now)
            return self._refresh()
        except (lmdb.Error, msgspec.DecodeError) as error:
            self._damaged(error)
            raise

    def _look(self, now: float) -> None:
        """Open the tables, anew if other files are in their place."""
        self._looked = now
        data = self._path / "data.mdb"
        inode = data.stat().st_ino if data.exists() else 0
        if self._pid == os.getpid():
            shared = self._shared
            if inode in (0, self._inode) or shared is None or shared.write:
                return
            shared.close(self._path)
            self._pid = 0
        shared = Environment.at(self._path, write=False)
        self._shared, self._inode, self._pid = shared, inode, os.getpid()
        self._begin = shared.environment.begin
        self._db = shared.databases
        self._user_db = self._db["users"]
        self._number_db = self._db["numbers"]
        self._generation, self._written = b"", -1
        self._recent.clear()

    def _damaged(self, error: Exception) -> None:
        """Tell the agent, and look soon for what it makes of it."""
        self._looked = 0.0
        self._written = -1
        with suppress(OSError):
            (self._path / MARKER).write_text(f"{type(error).__name__}: {error}")

    def _refresh(self) -> bool:
        with self._begin() as transaction:
            # The number of the last transaction that was committed: nothing at all has changed.
            written = transaction.id()
            if written == self._written:
                return False
            self._recent.clear()
            self._written = written
            generation = transaction.get(b"generation", b"0", db=self._db["meta"])
            if generation == self._generation:
                return False
            cluster = transaction.get(b"cluster", db=self._db["meta"])
            self._bare = cluster is None and self.cluster.name != ""
            if self._bare:
                return False
            self._read(transaction)
        self._generation = generation
        return True

    def tenant(self, name: str) -> Tenant | None:
        return self._tenants.get(name)

    def tenant_of(self, domain: str) -> Tenant | None:
        return self._tenants.get(self._domains.get(domain, ""))

    def user(self, tenant: str, extension: str) -> User | None:
        key = user_key(tenant, extension)
        # LMDB has no keys over 511 bytes, and what phones send may be any length.
        if len(key) > 500:
            return None
        user = self._recent.get(key)
        if user is not None:
            return user
        try:
            with self._begin() as transaction:
                value = transaction.get(key, db=self._user_db)
            if value is None:
                return None
            user = self._users.decode(value)
        except (lmdb.Error, msgspec.DecodeError) as error:
            self._damaged(error)
            raise
        if len(self._recent) >= USERS_REMEMBERED:
            self._recent.clear()
        self._recent[key] = user
        return user

    def number(self, number: str) -> Number | None:
        if not 0 < len(number) < 100:
            return None
        if self._bare:
            raise LookupError("the tables are being made anew and have no numbers yet")
        try:
            with self._begin() as transaction:
                value = transaction.get(number.encode(), db=self._number_db)
            return self._numbers.decode(value) if value is not None else None
        except (lmdb.Error, msgspec.DecodeError) as error:
            self._damaged(error)
            raise

    def app_at(self, address: str, port: int | str) -> AppServer | None:
        return self._apps_at.get(f"{host(address)}:{port}")

    def trunk_of(self, address: str) -> Trunk | None:
        name = self._sources.get(address) or self._networks.find(address)
        return self.trunks.get(name) if name else None

    def address_of(self, trunk: str) -> str:
        return self._addresses.get(trunk, "")

    def port_of(self, trunk: str) -> int:
        return self._ports.get(trunk, 0)

    @property
    def complete(self) -> bool:
        """Whether an unknown user is really unknown, and not merely not copied yet."""
        with self._begin() as transaction:
            return transaction.get(b"complete", db=self._db["meta"]) == b"1"

    def _read(self, transaction: Any) -> None:
        def rows(name: str) -> dict[str, bytes]:
            cursor = transaction.cursor(self._db[name])
            return {bytes(key).decode(): bytes(value) for key, value in cursor.iternext()}

        def decoded(name: str, kind: Any) -> dict[str, Any]:
            decode = msgspec.json.Decoder(kind).decode
            return {key: decode(value) for key, value in rows(name).items()}

        meta = rows("meta")
        if "cluster" in meta:
            self.cluster = msgspec.json.decode(meta["cluster"], type=Cluster)
            self.routes = RouteTable(msgspec.json.decode(meta["routes"], type=tuple[Route, ...]))
        self._tenants = decoded("tenants", Tenant)
        self._domains = {key: value.decode() for key, value in rows("domains").items()}
        self._sources = {key: value.decode() for key, value in rows("sources").items()}
        self.trunks = decoded("trunks", Trunk)
        self.media = decoded("media", MediaServer)
        self.apps = decoded("apps", AppServer)
        self._apps_at = {server.sip: server for server in self.apps.values()}
        targets = msgspec.json.decode(meta.get("targets", b"{}"), type=dict[str, Target])
        self._addresses = addresses(self._sources) | {k: v.address for k, v in targets.items()}
        self._ports = {k: v.port for k, v in targets.items()}
        self._networks = Networks(self.trunks.values())

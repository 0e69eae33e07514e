"""The agent's side of the tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from services.call_manager.tables.environment import Environment, user_key
from services.call_manager.tables.model import AppServer, MediaServer, Picture, Target, domains
from services.core.configuration import User

BATCH = 20_000


class EncodedUser(NamedTuple):
    """A user as the store keeps it: ``routing`` is `configuration.encode` of the `User`."""

    tenant: str
    extension: str
    routing: bytes


class TablesWriter:
    """Writes the tables. One process, one thread at a time.

    Every method is one transaction, or batches of them for users; each may take as long as the
    disk does, so call it in a worker thread. Raises lmdb.Error where the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        shared = Environment.at(path, write=True)
        self._shared = shared
        self._environment = shared.environment
        self._db = shared.databases
        # Workers that were killed leave their slots in the reader table behind.
        self._environment.reader_check()

    def close(self) -> None:
        self._shared.close(self._path)

    def write(self, picture: Picture) -> None:
        """Replace the configuration, users, sources and media servers left as they are."""
        with self._environment.begin(write=True) as transaction:
            self._replace(
                transaction, "domains", {k: v.encode() for k, v in domains(picture.tenants).items()}
            )
            self._replace(transaction, "tenants", {t.name: _encode(t) for t in picture.tenants})
            self._replace(transaction, "trunks", {t.name: _encode(t) for t in picture.trunks})
            self._replace(
                transaction, "numbers", {k: _encode(v) for k, v in picture.numbers.items()}
            )
            self._put(transaction, "meta", "cluster", _encode(picture.cluster))
            self._put(transaction, "meta", "routes", _encode(picture.routes))
            self._next_generation(transaction)

    def write_sources(
        self, sources: Mapping[str, str], targets: Mapping[str, Target] | None = None
    ) -> None:
        """Replace the source addresses: IP address in its canonical form, trunk's name.

        And where each trunk's calls go; without it, to its first source address.
        """
        with self._environment.begin(write=True) as transaction:
            encoded = _encode(targets or {})
            changed = transaction.get(b"targets", b"{}", db=self._db["meta"]) != encoded
            if changed:
                self._put(transaction, "meta", "targets", encoded)
            new = {k: v.encode() for k, v in sources.items()}
            if self._replace(transaction, "sources", new) or changed:
                self._next_generation(transaction)

    def write_media(self, servers: Iterable[MediaServer]) -> None:
        """Replace the media servers."""
        with self._environment.begin(write=True) as transaction:
            if self._replace(transaction, "media", {s.name: _encode(s) for s in servers}):
                self._next_generation(transaction)

    def write_apps(self, servers: Iterable[AppServer]) -> None:
        """Replace the application servers."""
        with self._environment.begin(write=True) as transaction:
            if self._replace(transaction, "apps", {s.key: _encode(s) for s in servers}):
                self._next_generation(transaction)

    def put_users(self, users: Iterable[User | EncodedUser]) -> int:
        """Insert or replace users, in batches; says how many were given."""
        return sum(len(batch) for batch in self._put_batches(users))

    def remove_users(self, keys: Iterable[tuple[str, str]]) -> int:
        """Remove users by tenant and extension; says how many there were."""
        with self._environment.begin(write=True) as transaction:
            return sum(
                transaction.delete(user_key(tenant, extension), db=self._db["users"])
                for tenant, extension in keys
            )

    def load_users(
        self, users: Iterable[User | EncodedUser], removed: list[tuple[str, str]] | None = None
    ) -> int:
        """Make ``users`` all there are, streamed; says how many. Marks the tables complete.

        It commits batch by batch: nobody is missing meanwhile, and other writers wait for a batch
        at most. Who is not among ``users`` goes last, and into ``removed``: tenant, extension.
        """
        if self._has_no_users():
            return self._fill(users)
        kept: set[int] = set()
        for batch in self._put_batches(users):
            kept.update(map(hash, batch))
        gone: list[bytes] = []
        with self._environment.begin() as transaction:
            cursor = transaction.cursor(self._db["users"])
            for key in cursor.iternext(keys=True, values=False):
                if hash(key) not in kept:
                    gone.append(key)  # noqa: PERF401 - a cursor's keys are not a collection
        with self._environment.begin(write=True) as transaction:
            for key in gone:
                transaction.delete(key, db=self._db["users"])
            self._put(transaction, "meta", "complete", b"1")
        if removed is not None:
            for key in gone:
                tenant, _, extension = key.decode().rpartition("/")
                removed.append((tenant, extension))
        return len(kept)

    @property
    def complete(self) -> bool:
        """Whether every user of the store has been copied at least once."""
        with self._environment.begin() as transaction:
            return transaction.get(b"complete", db=self._db["meta"]) == b"1"

    @property
    def mark(self) -> bytes:
        """What `set_mark` was told last; empty in new tables."""
        with self._environment.begin() as transaction:
            return bytes(transaction.get(b"mark", b"", db=self._db["meta"]))

    def set_mark(self, mark: bytes) -> None:
        """Keep, with the users, how far they follow the store."""
        with self._environment.begin(write=True) as transaction:
            self._put(transaction, "meta", "mark", mark)

    def _has_no_users(self) -> bool:
        with self._environment.begin() as transaction:
            return transaction.stat(self._db["users"])["entries"] == 0

    def _fill(self, users: Iterable[User | EncodedUser]) -> int:
        """`load_users` where there are none: nothing to compare, nobody to remove."""
        rows = (
            (
                user_key(user.tenant, user.extension),
                user.routing if isinstance(user, EncodedUser) else _encode(user),
            )
            for user in users
        )
        count = 0
        while batch := list(islice(rows, BATCH)):
            with self._environment.begin(write=True) as transaction:
                transaction.cursor(self._db["users"]).putmulti(batch)
            count += len(batch)
        with self._environment.begin(write=True) as transaction:
            self._put(transaction, "meta", "complete", b"1")
        return count

    def _put_batches(self, users: Iterable[User | EncodedUser]) -> Iterator[list[bytes]]:
        pending = iter(users)
        while True:
            keys: list[bytes] = []
            with self._environment.begin(write=True) as transaction:
                database = self._db["users"]
                for user in pending:
                    key = user_key(user.tenant, user.extension)
                    value = user.routing if isinstance(user, EncodedUser) else _encode(user)
                    # A page that is not written need not be copied: most users did not change.
                    if transaction.get(key, db=database) != value:
                        transaction.put(key, value, db=database)
                    keys.append(key)
                    if len(keys) == BATCH:
                        break
            if keys:
                yield keys
            if len(keys) < BATCH:
                return

    def _replace(self, transaction: Any, name: str, wanted: Mapping[str, bytes]) -> bool:
        """Make a database hold exactly this; whether it changed."""
        database = self._db[name]
        new = {key.encode(): value for key, value in wanted.items()}
        old = dict(transaction.cursor(database).iternext())
        for key in old.keys() - new.keys():
            transaction.delete(key, db=database)
        for key, value in new.items():
            if old.get(key) != value:
                transaction.put(key, value, db=database)
        return old != new

    def _put(self, transaction: Any, name: str, key: str, value: bytes) -> None:
        transaction.put(key.encode(), value, db=self._db[name])

    def _next_generation(self, transaction: Any) -> None:
        now = int(transaction.get(b"generation", b"0", db=self._db["meta"]))
        self._put(transaction, "meta", "generation", str(now + 1).encode())


def _encode(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")

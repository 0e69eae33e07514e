"""The LMDB environment that the agent writes and Kamailio's workers read."""

from __future__ import annotations

import os
from pathlib import Path

import lmdb

MAP_SIZE = 8 << 30
"""Address space, not disk: a million users take about 400 MB of it."""
MAX_READERS = 1024
DATABASES = ("meta", "domains", "tenants", "trunks", "numbers", "users", "sources", "media", "apps")
MARKER = "damaged"
"""File beside the tables by which who met damage tells the agent (tables_repair.py)."""


def user_key(tenant: str, extension: str) -> bytes:
    """The key of a user in the database ``users``."""
    return f"{tenant}/{extension}".encode()


class Environment:
    """LMDB refuses to open one environment twice in a process, so all users of a path share it."""

    _open: dict[tuple[int, str], Environment] = {}  # noqa: RUF012 - shared on purpose

    def __init__(self, path: Path, *, write: bool) -> None:
        path.mkdir(parents=True, exist_ok=True)
        if not write and not (path / "data.mdb").exists():
            raise FileNotFoundError(f"{path}: no tables yet; 'pbx-call-manager prepare' makes them")
        self.environment = lmdb.open(
            str(path),
            map_size=MAP_SIZE,
            max_dbs=len(DATABASES),
            max_readers=MAX_READERS,
            readonly=not write,
            # The tables are made anew from the store; what counts is that they are never torn.
            sync=False,
            metasync=False,
        )
        self.write = write
        try:
            self.databases = {
                name: self.environment.open_db(name.encode(), create=write) for name in DATABASES
            }
        except lmdb.Error:
            # Else it could not be opened again when it is whole again.
            self.environment.close()
            raise

    @classmethod
    def at(cls, path: Path, *, write: bool) -> Environment:
        key = (os.getpid(), str(path.resolve()))
        found = cls._open.get(key)
        if found is None:
            found = cls._open[key] = cls(path, write=write)
        return found

    def close(self, path: Path) -> None:
        self._open.pop((os.getpid(), str(path.resolve())), None)
        self.environment.close()

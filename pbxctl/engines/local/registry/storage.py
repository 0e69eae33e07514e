"""The registry's records on disk, so that they outlive it: one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pbxctl.engines.local.registry.records import KINDS, AnyRecord, Kind

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, id TEXT NOT NULL, record BLOB NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY CHECK (id = 1), position INTEGER NOT NULL);
"""


class StorageError(Exception):
    """The file cannot be read or written; the message is for the operator."""


class Storage:
    """``path`` is created where it is missing. Every `write` is on the disk when it returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # Written from worker threads, one at a time.
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise self._error("opened", error) from None

    def load(self) -> tuple[int, list[AnyRecord]]:
        """The log's index and every record. Raises StorageError."""
        try:
            position = self._connection.execute("SELECT position FROM log").fetchone()
            rows = self._connection.execute("SELECT kind, record FROM records").fetchall()
            records = [msgspec.msgpack.decode(row[1], type=KINDS[row[0]]) for row in rows]
        except (sqlite3.Error, msgspec.MsgspecError, KeyError) as error:
            raise self._error("read", error) from None
        return (position[0] if position else 0), records

    def write(self, index: int, dirty: Mapping[tuple[Kind, str], AnyRecord | None]) -> None:
        """Keep records, remove those that are None, all or nothing. Raises StorageError."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for (kind, name), record in dirty.items():
                if record is None:
                    self._connection.execute(
                        "DELETE FROM records WHERE kind = ? AND id = ?", (kind, name)
                    )
                else:
                    self._connection.execute(
                        "INSERT OR REPLACE INTO records VALUES (?, ?, ?)",
                        (kind, name, msgspec.msgpack.encode(record)),
                    )
            self._connection.execute("INSERT OR REPLACE INTO log VALUES (1, ?)", (index,))
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise self._error("written", error) from None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _error(self, verb: str, error: Exception) -> StorageError:
        return StorageError(
            f"registry: {self._path} cannot be {verb}: {error}. If the disk is full, make room; if "
            "the file is damaged, move it away: pbxctl apply writes the configuration again"
        )

"""This host's PostgreSQL, asked as its superuser. Everything here waits: call it from a thread."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from services.database.patroni import SUPERUSER
from services.database.settings import DatabaseSettings

ROLE = "pbx"
DATABASE = "pbx"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found.

    ``standbys`` stream from this primary, ``synchronous`` of them are waited for; ``waits``:
    PostgreSQL is told to wait for any. ``lag`` is the most bytes that one has yet to apply. On a
    standby ``source`` is the primary that wrote last, ``age`` the seconds since, by the two hosts'
    clocks, and ``behind`` the seconds that what is received here is behind what was sent, None if
    nothing is received.
    """

    primary: bool
    standbys: int = 0
    synchronous: int = 0
    waits: bool = False
    lag: int = 0
    source: str = ""
    age: float = 0.0
    behind: float | None = None


class Postgres:
    """One connection, made when it is needed, and made anew after an error.

    Every method raises psycopg.Error. `cut` ends a wait from another thread.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._password = settings.secret("database_superuser_password")
        self._connection: psycopg.Connection[Any] | None = None

    def answers(self) -> bool:
        """Ask for nothing; True if it is the primary."""
        row = self._one("SELECT NOT pg_is_in_recovery()")
        return bool(row[0])

    def write(self) -> None:
        """Write a row, as clients do: this waits for the synchronous standbys."""
        self._run(
            "INSERT INTO pbx_agent.heartbeat VALUES (1, %s, clock_timestamp()) "
            "ON CONFLICT (id) DO UPDATE SET writer = excluded.writer, at = excluded.at",
            (self._settings.server,),
        )

    def look(self) -> Found:
        """How replication is, from where we are."""
        if self.answers():
            row = self._one(
                "SELECT count(*), count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')), "
                "coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 0), "
                "current_setting('synchronous_standby_names') <> '' "
                "FROM pg_stat_replication WHERE state = 'streaming'"
            )
            return Found(
                primary=True,
                standbys=row[0],
                synchronous=row[1],
                lag=max(0, int(row[2])),
                waits=row[3],
            )
        row = self._one(
            "SELECT CASE WHEN flushed_lsn = pg_last_wal_replay_lsn() "
            "THEN last_msg_receipt_time - last_msg_send_time "
            "ELSE clock_timestamp() - pg_last_xact_replay_timestamp() END "
            "FROM (SELECT 1) AS one LEFT JOIN pg_stat_wal_receiver ON status = 'streaming'"
        )
        # Clocks differ a little: less than nothing is nothing.
        behind = None if row[0] is None else max(0.0, row[0].total_seconds())
        try:
            beat = self._one(
                "SELECT writer, extract(epoch FROM clock_timestamp() - at)::float8 "
                "FROM pbx_agent.heartbeat"
            )
        except (psycopg.errors.UndefinedTable, LookupError):
            beat = ("", 0.0)  # nothing was written yet
        return Found(primary=False, source=beat[0], age=beat[1], behind=behind)

    def provision(self, password: str) -> list[str]:
        """Role, database and the heartbeat's table, if they are not there; what was made."""
        made: list[str] = []
        connection = self._open()
        with connection.cursor() as cursor:
            # One after the other where two believe they are the primary.
            cursor.execute("SELECT pg_advisory_lock(70627864)")
            try:
                made += self._role(cursor, password)
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                if cursor.fetchone() is None:
                    cursor.execute(
                        sql.SQL("CREATE DATABASE {} OWNER {}").format(
                            sql.Identifier(DATABASE), sql.Identifier(ROLE)
                        )
                    )
                    made.append(f"database {DATABASE}")
                cursor.execute("CREATE SCHEMA IF NOT EXISTS pbx_agent")
                cursor.execute(
                    "CREATE TABLE IF NOT EXISTS pbx_agent.heartbeat "
                    "(id int PRIMARY KEY, writer text NOT NULL, at timestamptz NOT NULL)"
                )
            finally:
                cursor.execute("SELECT pg_advisory_unlock(70627864)")
        return made

    def _role(self, cursor: psycopg.Cursor[Any], password: str) -> list[str]:
        """The role, with this password: another one is replaced, so that it can be changed."""
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,))
        absent = cursor.fetchone() is None
        if not absent and self._may_log_in(password):
            return []
        # Made a verifier here: a password in a statement would be in the log if it failed.
        encrypt = cursor.connection.pgconn.encrypt_password
        verifier = encrypt(password.encode(), ROLE.encode(), b"scram-sha-256").decode()
        word = "CREATE" if absent else "ALTER"
        cursor.execute(
            sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(
                sql.SQL(word), sql.Identifier(ROLE), sql.Literal(verifier)
            )
        )
        return [f"role {ROLE}" if absent else f"password of role {ROLE}"]

    def _may_log_in(self, password: str) -> bool:
        try:
            self._connect(ROLE, password, "postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def close(self) -> None:
        """Close the connection; the next question makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def cut(self) -> None:
        """End a wait in another thread: its question fails now."""
        connection = self._connection
        if connection is None:
            return
        with (
            suppress(psycopg.Error, OSError),
            socket.socket(fileno=os.dup(connection.fileno())) as copy,
        ):
            copy.shutdown(socket.SHUT_RDWR)

    def _one(self, statement: str) -> tuple[Any, ...]:
        rows = self._run(statement)
        if not rows:
            raise LookupError("no row")
        return rows[0]

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._open().cursor() as cursor:
                cursor.execute(statement, values)  # pyright: ignore[reportArgumentType] # constants of this module's
                return cursor.fetchall() if cursor.description else []
        except psycopg.OperationalError:
            self.close()
            raise

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect(SUPERUSER, self._password, "postgres")
        return self._connection

    def _connect(self, user: str, password: str, database: str) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=self._settings.address,
            port=self._settings.port,
            user=user,
            password=password,
            dbname=database,
            autocommit=True,
            connect_timeout=2,
            tcp_user_timeout=2000,
            application_name="pbx-database",
            options="-c statement_timeout=3000",
        )

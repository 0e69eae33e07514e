"""One database, SQLite or PostgreSQL, through one code path."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, Connection, Engine, ExceptionContext, make_url

from services.core.store.errors import StoreAwayError, StoreError
from services.core.store.hosts import choose

BUSY_TIMEOUT = 5.0
"""Seconds that a writer waits for another one (SQLite) or for a connection (PostgreSQL)."""

WRITE = "pbx_write"

READ_ONLY = "25006"
"""SQLSTATE of a write to what has become a standby."""
# A dead host is noticed by what is sent (ms) or by silence (s): its successor is there in 4 s.
LIVELINESS = {
    "connect_timeout": 3,
    "tcp_user_timeout": 2000,
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 2,
}


class Database:
    """A database at SQLAlchemy's ``url``. Every method waits: call from a thread, not from trio.

    All raise StoreAwayError while the database is away, and StoreError for what it refuses.

    A PostgreSQL on several hosts is one database: ``?host=a,b,c&target_session_attrs=read-write``
    reaches the one that can be written, whichever that is at the time. ``password`` is for a URL
    that has none.
    """

    def __init__(self, url: str, password: str = "") -> None:
        self._engine = _engine(url, password)
        self.kind = self._engine.dialect.name

    @contextmanager
    def read(self) -> Generator[Connection]:
        """A transaction that only reads; on SQLite it never waits for a writer."""
        with _explained(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Generator[Connection]:
        """A transaction that may write: all or nothing."""
        with _explained(), self._engine.connect() as plain:
            connection = plain.execution_options(**{WRITE: True})
            with connection.begin():
                yield connection

    @contextmanager
    def session(self) -> Generator[Connection]:
        """One connection without a transaction, for what takes several (`transaction`)."""
        with _explained(), self._engine.connect() as connection:
            yield connection

    def check(self) -> None:
        """Write a row and take it back, as a health check does."""
        with self.write() as connection:
            connection.execute(
                sa.text("UPDATE pbx_counters SET value = value WHERE name = 'health'")
            )

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


@contextmanager
def transaction(connection: Connection, *, write: bool) -> Generator[Connection]:
    """A transaction on a connection of `Database.session`."""
    connection.execution_options(**{WRITE: write})
    with connection.begin():
        yield connection


def _engine(text: str, password: str) -> Engine:
    try:
        url = make_url(text)
    except exc.ArgumentError:
        raise StoreError("database_url is not a SQLAlchemy URL") from None
    if url.get_backend_name() == "sqlite":
        return _sqlite(url)
    if url.get_backend_name() == "postgresql":
        if password and not url.password:
            url = url.set(password=password)
        return _postgresql(url)
    raise StoreError(f"database_url: {url.drivername} is neither sqlite nor postgresql")


def _postgresql(url: URL) -> Engine:
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=5,
        max_overflow=5,
        pool_timeout=BUSY_TIMEOUT,
        # A connection that the server closed while it was idle is not an error of the caller.
        pool_pre_ping=True,
        connect_args=LIVELINESS,
    )

    @event.listens_for(engine, "do_connect")
    def connecting(_: Any, __: Any, ___: Any, parameters: dict[str, Any]) -> None:  # pyright: ignore[reportUnusedFunction]
        choose(parameters)

    @event.listens_for(engine, "handle_error")
    def failed(context: ExceptionContext) -> None:  # pyright: ignore[reportUnusedFunction]
        # The connection is to a former primary: away with it, and with the others to it.
        if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
            context.is_disconnect = True

    return engine


def _sqlite(url: URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT})

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        # The driver's own BEGIN comes too late for DDL and too weak for writers: `began` says it.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        # A deferred transaction that turns into a writer fails at once if another one wrote.
        immediate = connection.get_execution_options().get(WRITE)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


@contextmanager
def _explained() -> Generator[None]:
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
        raise StoreAwayError(f"database: {_reason(error)}") from None
    except exc.SQLAlchemyError as error:
        gone = isinstance(error, exc.DBAPIError) and error.connection_invalidated
        kind = StoreAwayError if gone else StoreError
        raise kind(f"database: {_reason(error)}") from None


def _reason(error: exc.SQLAlchemyError) -> str:
    """The driver's words in one line, without the statement and its values."""
    original = error.orig if isinstance(error, exc.DBAPIError) else None
    return " ".join(str(original or type(error).__name__).split())

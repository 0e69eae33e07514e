"""A database on several hosts, as its clients see it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from services.core.store import Database, StoreAwayError, migrate
from services.core.store.hosts import answering, choose, hosts
from tests.support.hosts import loopback_network
from tests.support.postgresql import postgresql_server


@contextmanager
def listener(address: str, backlog: int = 5) -> Iterator[socket.socket]:
    with socket.socket() as found:
        found.bind((address, 0))
        found.listen(backlog)
        yield found


@contextmanager
def silent(address: str) -> Iterator[str]:
    """A port whose connections hang, as those to a dead host do: its queue is full."""
    with listener(address, 0) as full:
        name = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(name)
        try:
            yield str(name[1])
        finally:
            for each in waiting:
                each.close()


def test_only_those_that_answer_are_asked() -> None:
    with loopback_network() as net, listener(f"{net}.2") as alive, silent(f"{net}.1") as dead:
        port = str(alive.getsockname()[1])
        parameters = {
            "host": f"{net}.1,{net}.2,{net}.3",
            "port": f"{dead},{port},{port}",  # nobody listens on the third
            "dbname": "pbx",
        }
        began = time.monotonic()
        choose(parameters)
        # libpq alone would have given the silent one two seconds at least.
        assert time.monotonic() - began < 1.9
        assert parameters == {"host": f"{net}.2", "port": port, "dbname": "pbx"}


def test_all_stay_where_none_answers() -> None:
    """So that the error is libpq's and names them all."""
    with loopback_network() as net:
        parameters = {"host": f"{net}.1,{net}.2", "port": "5432"}
        choose(parameters)
        assert parameters["host"] == f"{net}.1,{net}.2"
        assert answering([(f"{net}.1", "5432")]) == []


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"host": "a,b", "port": "1,2"}, [("a", "1"), ("b", "2")]),
        ({"host": "a,b", "port": 7}, [("a", "7"), ("b", "7")]),
        ({"host": "a,b"}, [("a", "5432"), ("b", "5432")]),
        ({"host": "a,b", "port": "1,"}, [("a", "1"), ("b", "5432")]),
        ({"host": "/run/postgresql"}, [("/run/postgresql", "5432")]),
    ],
)
def test_lists_as_libpq_writes_them(
    parameters: dict[str, str], found: list[tuple[str, str]]
) -> None:
    assert hosts(parameters) == found


def test_a_primary_that_became_a_standby_is_left() -> None:
    """Its connections are no good any more, and the caller is told to come again."""
    with postgresql_server() as url:
        database = Database(url)
        try:
            migrate(database)
            database.check()
            read_only(url, on=True)
            with pytest.raises(StoreAwayError, match="read-only"):
                database.check()
            read_only(url, on=False)
            database.check()
        finally:
            database.close()


def read_only(url: str, *, on: bool) -> None:
    """What is new becomes so by itself; a connection that is open is told by its own setting."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        value = "on" if on else "off"
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}".encode())
        connection.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with psycopg.connect(plain) as other:
                row = other.execute("SHOW default_transaction_read_only").fetchone()
                if row == (value,):
                    return
            time.sleep(0.05)
    raise AssertionError(f"default_transaction_read_only is not {value}")


def test_the_password_is_not_the_urls() -> None:
    database = Database("postgresql://pbx@/pbx?host=127.0.0.1&port=1", "s3cret")
    try:
        with pytest.raises(StoreAwayError) as error, database.read() as connection:
            connection.execute(sa.text("SELECT 1"))
        assert "s3cret" not in str(error.value)
    finally:
        database.close()

"""Migrations, secrets, calls, recordings and Kamailio's tables."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.core.events import Quality
from services.core.seal import Seal, SealError
from services.core.store import (
    CallRecord,
    Database,
    Recording,
    StoreAwayError,
    StoreError,
    calls,
    media_sets,
    migrate,
    recordings,
    registrations,
    revision,
    schema,
    secrets,
)

ROOT = Path(__file__).parents[3]
KEY = bytes(range(32))


def test_migrating_twice_is_once(url: str) -> None:
    database = Database(url)
    assert revision(database) is None
    migrate(database)
    first = revision(database)
    migrate(database)
    assert revision(database) == first == "0001"
    database.close()


def test_two_that_migrate_at_once(url: str) -> None:
    script = "import sys; from services.core.store import *; migrate(Database(sys.argv[1]))"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, url], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    database = Database(url)
    assert revision(database) == "0001"
    database.check()
    database.close()


def test_the_tables_are_those_that_queries_are_built_from(database: Database) -> None:
    with database.read() as connection:
        inspector = sa.inspect(connection)
        for table in schema.metadata.sorted_tables:
            found = {column["name"] for column in inspector.get_columns(table.name)}
            assert found == set(table.c.keys())


def test_kamailios_tables_have_the_shape_of_its_own_scripts(
    database: Database, tmp_path: Path
) -> None:
    """Names, order, and what may be empty, as in the scripts that Debian's package brings."""
    scripts = Path("/usr/share/kamailio/db_sqlite")
    reference = sa.create_engine(f"sqlite:///{tmp_path}/reference.db")
    with reference.begin() as connection:
        for name in ("standard", "usrloc", "rtpengine", "uac"):
            text = (scripts / f"{name}-create.sql").read_text()
            for statement in text.split(";"):
                if statement.strip():
                    connection.exec_driver_sql(statement)
    with reference.connect() as wanted, database.read() as got:
        for table in ("location", "location_attrs", "rtpengine", "uacreg", "version"):
            shapes = [
                [
                    (column["name"], bool(column["nullable"]))
                    for column in sa.inspect(connection).get_columns(table)
                ]
                for connection in (wanted, got)
            ]
            assert shapes[0] == shapes[1]
        numbers = sa.select(schema.version.c.table_name, schema.version.c.table_version)
        expected = dict(map(tuple, wanted.execute(numbers)))
        found = dict(map(tuple, got.execute(numbers)))
        assert found == {name: expected[name] for name in found}
        assert {"location", "rtpengine", "uacreg"} <= found.keys()
    reference.dispose()


def test_secrets_are_sealed_and_bound_to_their_name(database: Database) -> None:
    seal = Seal(KEY)
    with database.write() as connection:
        secrets.put(connection, seal, "trunk.carrier-a", "geheim")
        secrets.put(connection, seal, "trunk.carrier-a", "geheim2")
        secrets.put(connection, seal, "smtp", "")
    with database.read() as connection:
        assert secrets.get(connection, seal, "trunk.carrier-a") == "geheim2"
        assert secrets.get(connection, seal, "smtp") == ""
        assert secrets.get(connection, seal, "none") is None
        assert secrets.names(connection) == ["smtp", "trunk.carrier-a"]
        stored = connection.execute(sa.select(schema.secrets.c.sealed)).scalars().all()
        assert not any(b"geheim" in bytes(value) for value in stored)
        with pytest.raises(SealError, match="smtp was not sealed"):
            secrets.get(connection, Seal(bytes(32)), "smtp")
    with database.write() as connection:
        moved = seal.close("trunk.carrier-a", "geheim2")
        connection.execute(sa.update(schema.secrets).values(sealed=moved))
    with database.read() as connection, pytest.raises(SealError):
        secrets.get(connection, seal, "smtp")
    with database.write() as connection:
        assert secrets.delete(connection, "smtp")
        assert not secrets.delete(connection, "smtp")


def record(number: int, **fields: object) -> CallRecord:
    values: dict[str, object] = {
        "event": f"e{number}",
        "call": f"call-{number}",
        "tenant": "acme",
        "server": "cm1",
        "ended": 1000.0 + number,
    }
    return CallRecord(**(values | fields))  # type: ignore[arg-type] - shorthand


def test_a_call_is_stored_once_whatever_it_is_told(database: Database) -> None:
    full = record(
        1, answered=990.0, duration=11.0, quality=Quality(mos=4.0, loss=0.5, jitter=3.0), code=200
    )
    with database.write() as connection:
        assert calls.add(connection, [full, record(2), full]) == 2
    with database.write() as connection:
        assert calls.add(connection, [record(2), record(3)]) == 1
        assert calls.add(connection, [record(1)]) == 0
        assert calls.add(connection, []) == 0
    with database.read() as connection:
        found = calls.page(connection)
        assert [one.event for one in found] == ["e1", "e2", "e3"]
        assert found[0].quality == full.quality
        assert [one.event for one in calls.page(connection, after=found[0].number)] == ["e2", "e3"]
        assert [one.event for one in calls.page(connection, limit=1)] == ["e1"]
        assert calls.page(connection, tenant="other") == []
        assert [one.event for one in calls.page(connection, call="call-2")] == ["e2"]


def test_recordings_are_indexed(database: Database) -> None:
    first = Recording(id="r1", call="c1", server="media1", path="/x/r1.wav", started=5.0)
    with database.write() as connection:
        recordings.put(connection, first)
        recordings.put(connection, Recording(id="r2", call="c2", server="m", path="y", started=6.0))
        longer = Recording(
            id="r1", call="c1", server="media1", path="/x/r1.wav", started=5.0, duration=9.5
        )
        recordings.put(connection, longer)
    with database.write() as connection:
        assert recordings.get(connection, "r1") == longer
        assert [one.id for one in recordings.page(connection)] == ["r1", "r2"]
        assert [one.id for one in recordings.page(connection, after="r1")] == ["r2"]
        assert [one.id for one in recordings.page(connection, call="c1")] == ["r1"]
        assert recordings.delete(connection, "r1")
        assert recordings.get(connection, "r1") is None


def test_recordings_of_nobody_get_their_calls(database: Database) -> None:
    lost = Recording(id="r1", call="c1", server="m", path="/x", started=5.0, duration=9.5)
    known = Recording(id="r2", call="c1", server="m", path="/y", started=5.0, tenant="other")
    records = [
        CallRecord(
            event=name, call=name, tenant="t", server="cm", ended=9.0, caller="1", callee="2"
        )
        for name in ("c1", "c2")
    ]
    with database.write() as connection:
        recordings.put(connection, lost)
        recordings.put(connection, known)
        assert recordings.attribute(connection, records) == 1
        assert recordings.attribute(connection, records) == 0
        assert recordings.attribute(connection, []) == 0
    with database.read() as connection:
        found = recordings.get(connection, "r1")
        assert found is not None
        assert (found.tenant, found.caller, found.callee) == ("t", "1", "2")
        assert (found.path, found.duration) == ("/x", 9.5)
        assert recordings.get(connection, "r2") == known
        assert [one.id for one in recordings.page(connection, tenant="t")] == ["r1"]


def test_media_sets_are_exactly_what_was_said(database: Database) -> None:
    with database.write() as connection:
        assert media_sets.put(connection, {1: "udp:127.0.0.1:2223", 2: "udp:127.0.0.2:2223"})
        assert not media_sets.put(connection, {2: "udp:127.0.0.2:2223", 1: "udp:127.0.0.1:2223"})
        assert media_sets.put(connection, {2: "udp:127.0.0.9:2223"})
    with database.read() as connection:
        assert media_sets.read(connection) == {2: "udp:127.0.0.9:2223"}


def test_registrations_are_paged_and_the_expired_left_out(database: Database) -> None:
    now = time.time()
    at = datetime.fromtimestamp(now)  # noqa: DTZ006 - as Kamailio writes it
    rows = [
        {
            "ruid": f"uloc-{number}",
            "username": f"{2000 + number}",
            "domain": "acme.example" if number % 2 else "other.example",
            "contact": f"sip:{2000 + number}@127.0.0.1:5062",
            "expires": at + timedelta(seconds=60 if number < 6 else -60),
        }
        for number in range(8)
    ]
    with database.write() as connection:
        connection.execute(sa.insert(schema.location), rows)
    with database.read() as connection:
        assert registrations.count(connection, now) == 6
        first = registrations.page(connection, now, limit=4)
        rest = registrations.page(connection, now, after=first[-1].id, limit=4)
        assert [one.extension for one in first + rest] == [f"{2000 + n}" for n in range(6)]
        assert first[0].expires == pytest.approx(now + 60, abs=1)
        ours = registrations.page(connection, now, domains=["acme.example"])
        assert [one.extension for one in ours] == ["2001", "2003", "2005"]
        assert [o.id for o in registrations.page(connection, now, extension="2004")] == ["uloc-4"]
        assert registrations.page(connection, now, domains=[]) == []


def test_an_error_tells_no_values(database: Database) -> None:
    twice = [{"name": "x", "sealed": b"hidden-value"}] * 2

    def refused() -> None:
        with database.write() as connection:
            connection.execute(sa.insert(schema.secrets), twice)

    with pytest.raises(StoreError) as caught:
        refused()
    assert "hidden-value" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    away = Database(f"postgresql://nobody@/x?host={tmp_path}")
    with pytest.raises(StoreAwayError, match="database: "):
        away.check()
    (tmp_path / "pbx.db").mkdir()
    with pytest.raises(StoreAwayError, match="unable to open"):
        Database(f"sqlite:///{tmp_path}/pbx.db").check()


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense"])
def test_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="database_url"):
        Database(url)

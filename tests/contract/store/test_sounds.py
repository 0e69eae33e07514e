"""Sounds: those of the spec stay, what callers have said goes after its time."""

from __future__ import annotations

from services.core.menus import recording_id
from services.core.store import Database, recordings, sounds
from services.core.store.recordings import Recording

NOW = 1_700_000_000.0
OLD, NEW, KEPT, SPECS = (digit * 64 for digit in "1234")


def put(database: Database, digest: str, tenant: str, now: float = NOW) -> None:
    with database.write() as connection:
        sounds.put(connection, digest, b"RIFF", tenant, now)


def test_what_callers_have_said_is_kept_for_a_while(database: Database) -> None:
    put(database, OLD, "acme", NOW - 100)
    put(database, NEW, "acme", NOW)
    put(database, KEPT, "acme", NOW - 100)
    put(database, SPECS, sounds.SPEC, NOW - 100)
    entry = Recording(
        id=recording_id(OLD), call="c1", server="store", path=f"/v1/sounds/{OLD}", started=NOW
    )
    with database.write() as connection:
        recordings.put(connection, entry)
        assert sounds.expire(connection, NOW - 50, {KEPT}) == 1
    with database.read() as connection:
        assert sounds.digests(connection, "acme") == [NEW, KEPT]
        assert sounds.digests(connection) == [SPECS]
        assert recordings.page(connection) == []


def test_a_recording_that_a_spec_names_is_the_spec_s(database: Database) -> None:
    put(database, OLD, "acme")
    put(database, OLD, sounds.SPEC)
    put(database, OLD, "acme")
    with database.write() as connection:
        assert sounds.expire(connection, NOW + 50) == 0
        assert sounds.digests(connection) == [OLD]

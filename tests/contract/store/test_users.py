"""Users: one at a time, in bulk, and as changes to follow."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.core.configuration import Destination, Forward, User, encode
from services.core.store import Database, OwnedBySpecError, bulk, users


def user(extension: str, tenant: str = "acme", **fields: object) -> User:
    return User(tenant=tenant, extension=extension, **fields)  # type: ignore[arg-type] - shorthand


def put(database: Database, *found: User) -> None:
    with database.write() as connection:
        for one in found:
            users.put(connection, one)


def changed(database: Database, since: int) -> dict[tuple[str, str], bytes | None]:
    with database.read() as connection:
        return {(c.tenant, c.extension): c.routing for c in users.changes(connection, since)}


def mark(database: Database) -> int:
    with database.read() as connection:
        return users.mark(connection).change


def test_a_user_comes_back_as_it_was(database: Database) -> None:
    one = user(
        "2001",
        name="Jörg Müller",
        ha1_md5="0" * 32,
        forward=Forward(busy=Destination(kind="extension", target="2002")),
    )
    put(database, one)
    with database.read() as connection:
        assert users.get(connection, "acme", "2001") == (one, "api")
        assert users.get(connection, "acme", "2002") is None
        assert users.get(connection, "other", "2001") is None
    assert changed(database, 0) == {("acme", "2001"): encode(one)}


def test_writing_what_is_there_changes_nothing(database: Database) -> None:
    put(database, user("2001"))
    before = mark(database)
    with database.write() as connection:
        assert not users.put(connection, user("2001"))
    assert mark(database) == before
    with database.write() as connection:
        assert users.put(connection, user("2001", name="New"))
    assert mark(database) > before


def test_pages_go_by_extension(database: Database) -> None:
    names = [f"{number}" for number in (10, 9, 2, 100, 1)]
    put(database, *map(user, names), user("5", tenant="other"))
    seen: list[str] = []
    with database.read() as connection:
        while rows := users.page(connection, "acme", after=seen[-1] if seen else "", limit=2):
            seen += [found.extension for found, _ in rows]
    assert seen == sorted(names)


def test_deleting_is_a_change_too(database: Database) -> None:
    put(database, user("2001"), user("2002"))
    since = mark(database)
    with database.write() as connection:
        assert users.delete(connection, "acme", "2001")
        assert not users.delete(connection, "acme", "2001")
    assert changed(database, since) == {("acme", "2001"): None}
    put(database, user("2001", name="Back"))
    assert changed(database, since) == {("acme", "2001"): encode(user("2001", name="Back"))}


def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    before = mark(database)

    def fails() -> None:
        with database.write() as connection:
            users.put(connection, user("2001"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert mark(database) == before
    assert changed(database, 0) == {}


def test_bulk_writes_replaces_and_keeps_what_the_api_made(database: Database) -> None:
    put(database, user("9000", name="made by the API"))
    with bulk(database, "acme", source="spec") as stage:
        stage.add([user("2001"), user("2002")])
        stage.add([user("2003")])
        merged = stage.merge(replace=True, digest="d1")
    assert (merged.written, merged.unchanged, merged.removed) == (3, 0, 0)
    since = mark(database)
    with bulk(database, "acme", source="spec") as stage:
        stage.add([user("2002"), user("2003", name="Changed"), user("2004")])
        merged = stage.merge(replace=True, digest="d2")
    assert (merged.written, merged.unchanged, merged.removed) == (2, 1, 1)
    assert changed(database, since) == {
        ("acme", "2001"): None,
        ("acme", "2003"): encode(user("2003", name="Changed")),
        ("acme", "2004"): encode(user("2004")),
    }
    with database.read() as connection:
        assert users.directories_of(connection) == [users.Directory("acme", 4, "d2")]
        sources = {found.extension: source for found, source in users.page(connection, "acme")}
    assert sources == {"2002": "spec", "2003": "spec", "2004": "spec", "9000": "api"}


def test_bulk_without_replace_removes_nobody(database: Database) -> None:
    with bulk(database, "acme", source="spec") as stage:
        stage.add([user("2001")])
        stage.merge(replace=True, digest="d1")
    with bulk(database, "acme", source="api") as stage:
        stage.add([user("2002")])
        assert stage.merge().written == 1
    with database.read() as connection:
        sources = {found.extension: source for found, source in users.page(connection, "acme")}
        assert users.directories_of(connection)[0].digest == "d1"
    assert sources == {"2001": "spec", "2002": "api"}


def test_a_bulk_that_is_not_merged_did_not_happen(database: Database) -> None:
    before = mark(database)

    def fails() -> None:
        with bulk(database, "acme", source="spec") as stage:
            stage.add([user("2001")])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert (mark(database), changed(database, 0)) == (before, {})
    with bulk(database, "acme", source="spec") as stage:  # the stage is a new one
        assert stage.merge(replace=True).written == 0


def test_an_empty_bulk_with_replace_empties_the_tenant(database: Database) -> None:
    with bulk(database, "acme", source="spec") as stage:
        stage.add([user("2001")])
        stage.merge(replace=True, digest="d1")
    with bulk(database, "acme", source="spec") as stage:
        assert stage.merge(replace=True, digest="d0").removed == 1
    with database.read() as connection:
        assert users.directories_of(connection) == [users.Directory("acme", 0, "d0")]


def test_users_of_the_spec_are_changed_by_the_spec_alone(database: Database) -> None:
    with bulk(database, "acme", source="spec") as stage:
        stage.add([user("2001"), user("2002")])
        stage.merge(replace=True, digest="d1")
    put(database, user("3000"))
    before = mark(database)

    def write() -> None:
        put(database, user("3000", name="New"), user("2001", name="New"))

    def remove() -> None:
        with database.write() as connection:
            users.delete(connection, "acme", "3000")
            users.delete(connection, "acme", "2001")

    def many() -> None:
        with bulk(database, "acme", source="api") as stage:
            stage.add([user("3000", name="New"), user("2002"), user("2001", name="New")])
            stage.merge()

    for refused, who in ((write, "2001 belongs"), (remove, "2001 belongs"), (many, "2001, 2002")):
        with pytest.raises(OwnedBySpecError, match=f"acme {who}.*pbxctl apply; nothing was"):
            refused()
    assert mark(database) == before
    assert changed(database, 0)["acme", "3000"] == encode(user("3000"))
    with bulk(database, "acme", source="spec") as stage:
        stage.add([user("2001", name="New")])
        assert stage.merge(replace=True).removed == 1


def test_writers_at_once_get_numbers_in_the_order_of_their_commits(database: Database) -> None:
    """Who follows changes while others write misses none."""
    done = threading.Event()
    failures: list[BaseException] = []

    def write(worker: int) -> None:
        try:
            for number in range(25):
                put(database, user(f"{worker}-{number}"))
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failures.append(error)

    seen: set[tuple[str, str]] = set()

    def follow() -> None:
        since = 0
        while not done.is_set() or since < mark(database):
            new = mark(database)
            seen.update(changed(database, since))
            since = new

    writers = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    follower = threading.Thread(target=follow)
    for thread in (*writers, follower):
        thread.start()
    for thread in writers:
        thread.join(60)
    done.set()
    follower.join(60)
    assert not failures
    assert len(seen) == 100
    assert mark(database) == 100


def test_a_bulk_of_many_batches_and_a_stream_of_all_of_it(database: Database) -> None:
    with bulk(database, "acme", source="spec") as stage:
        for start in range(0, 20_000, 4000):
            stage.add(user(f"{number:05}") for number in range(start, start + 4000))
        assert stage.merge(replace=True).written == 20_000
    with database.read() as connection:
        extensions = [change.extension for change in users.changes(connection, 0)]
    assert extensions == [f"{number:05}" for number in range(20_000)]


commands = st.lists(
    st.tuples(
        st.sampled_from(["put", "delete", "replace", "follow"]),
        st.lists(st.sampled_from("abcdef"), max_size=6, unique=True),
        st.sampled_from(["", "x", "y"]),
    ),
    max_size=12,
)


@given(commands=commands)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_following_changes_ends_at_what_is_there(
    database: Database, commands: list[tuple[str, list[str], str]]
) -> None:
    copy: dict[tuple[str, str], bytes] = {}
    since = 0

    def follow() -> None:
        nonlocal since
        new = mark(database)
        for key, routing in changed(database, since).items():
            if routing is None:
                copy.pop(key, None)
            else:
                copy[key] = routing
        since = new

    follow()
    for command, extensions, name in [*commands, ("follow", [], "")]:
        if command == "put":
            with suppress(OwnedBySpecError):
                put(database, *(user(extension, name=name) for extension in extensions))
        elif command == "delete":
            with suppress(OwnedBySpecError), database.write() as connection:
                for extension in extensions:
                    users.delete(connection, "acme", extension)
        elif command == "replace":
            with bulk(database, "acme", source="spec") as stage:
                stage.add(user(extension, name=name) for extension in extensions)
                stage.merge(replace=True, digest=name)
        else:
            follow()
    assert copy == changed(database, 0)

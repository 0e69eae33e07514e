"""What people read of a database server."""

from __future__ import annotations

from services.core.configuration import Switch
from services.database.postgres import Found
from services.database.status import LATE, State, health, position


def state(found: Found | None, **more: object) -> State:
    made = State(expected=2, found=found, looked=100.0, written=100.0, failure="", patroni="")
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_primary() -> None:
    found = health(state(Found(primary=True, standbys=2, synchronous=2, lag=312)), 101)
    assert (found.status, found.output) == ("passing", "primary, 2 standbys, lag 312 B")
    assert found.problems == []


def test_primary_without_a_standby() -> None:
    found = health(state(Found(primary=True, standbys=1, synchronous=1, lag=25_000_000)), 101)
    assert (found.status, found.output) == ("warning", "primary, 1 standby, lag 25.0 MB")
    assert found.problems == ["1 of 2 standbys away"]


def test_primary_whose_writes_hang_or_fail() -> None:
    hung = state(Found(primary=True, standbys=2), written=90.0)
    assert health(hung, 101).status == "critical"
    assert health(hung, 101).output == "primary, cannot write: a write waits for its standbys"
    hung.unwritten = "No space left on device"
    assert health(hung, 101).output == "primary, cannot write: No space left on device"


def test_standby() -> None:
    found = health(state(Found(primary=False, source="cm1", age=0.4, behind=0.0123)), 101)
    assert (found.status, found.output) == ("passing", "standby of cm1, 12 ms behind")


def test_standby_that_gets_nothing() -> None:
    found = health(state(Found(primary=False, source="cm1"), leader="cm3"), 101)
    assert (found.status, found.output) == ("critical", "standby of cm3, receives nothing")


def test_standby_of_a_primary_that_writes_nothing() -> None:
    found = health(state(Found(primary=False, source="cm1", age=9.0, behind=0.0)), 101)
    assert found.problems == ["cm1 has written nothing for 9 s"]


def test_old_looks_count_no_more() -> None:
    old = state(Found(primary=True, standbys=2, synchronous=2), failure="PostgreSQL: gone")
    assert position(old, 100 + LATE) == "primary"
    assert position(old, 101 + LATE) == ""
    assert health(old, 101 + LATE).output == "PostgreSQL: gone"


def test_administrators_word_is_told() -> None:
    drained = state(Found(primary=False, source="cm1", behind=0.0), switch=Switch(state="draining"))
    assert health(drained, 101).output.endswith(", draining by an administrator")

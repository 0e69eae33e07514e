"""Which problems count: those that last, where passing by is the rule."""

from __future__ import annotations

from services.call_manager.state import LASTING, State


def test_a_problem_counts_at_once() -> None:
    state = State()
    state.tell("database", "is away")
    assert state.told(10.0) == {"database": "is away"}
    state.tell("database", "")
    assert state.told(10.0) == {}


def test_what_passes_by_itself_counts_when_it_lasts() -> None:
    state = State()
    state.tell("configuration", "tenants/acme: is not the version", since=10.0)
    assert state.told(10.0) == {}
    state.tell("configuration", "numbers/acme/1: is not the version", since=10.0 + LASTING / 2)
    assert state.told(9.9 + LASTING) == {}
    assert state.told(10.0 + LASTING) == {"configuration": "numbers/acme/1: is not the version"}


def test_over_and_begun_again_it_has_its_time_anew() -> None:
    state = State()
    state.tell("configuration", "x", since=10.0)
    state.tell("configuration", "")
    state.tell("configuration", "x", since=11.9)
    assert state.told(12.5) == {}
    state.tell("configuration", "no configuration has been applied yet")
    assert state.told(12.5)

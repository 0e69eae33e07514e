"""Events in any order, twice or not at all → what is up and what ended."""

from __future__ import annotations

import random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.calls import PATIENCE, Calls
from services.core.events import Answered, Ended, Event, Started

SAME: dict[str, Any] = {"server": "cm1", "tenant": "acme"}


def started(call: str, time: float = 1.0) -> Started:
    return Started(
        id=f"s-{call}-{time}",
        call=call,
        time=time,
        direction="internal",
        caller="2001",
        callee="2002",
        **SAME,
    )


def answered(call: str, time: float = 2.0) -> Answered:
    return Answered(id=f"a-{call}-{time}", call=call, time=time, by="2002", **SAME)


def ended(call: str, time: float = 5.0, *, answered: bool = True) -> Ended:
    return Ended(
        id=f"e-{call}-{time}",
        call=call,
        time=time,
        code=200 if answered else 486,
        reason="normal",
        by="caller",
        answered=answered,
        duration=3.0 if answered else 0.0,
        **SAME,
    )


def test_a_call_is_up_until_it_ends() -> None:
    calls = Calls()
    assert calls.apply([started("c"), answered("c")], 2.0) == []
    assert calls.up["c"].answered == answered("c")
    (record,) = calls.apply([ended("c")], 5.0)
    assert calls.up == {}
    assert (record.started, record.answered, record.ended) == (1.0, 2.0, 5.0)
    assert (record.caller, record.answered_by, record.code) == ("2001", "2002", 200)
    assert (record.event, record.duration) == ("e-c-5.0", 3.0)
    assert (calls.answered_total, calls.failed_total) == (1, 0)


def test_an_end_told_after_a_restart_lasts_from_the_answer() -> None:
    calls = Calls()
    calls.apply([started("c"), answered("c")], 2.0)
    end = msgspec.structs.replace(ended("c", 9.5), duration=0.0, tenant="")
    (record,) = calls.apply([end], 9.5)
    assert (record.tenant, record.duration) == ("acme", 7.5)


def test_a_failed_call_is_counted_as_such() -> None:
    calls = Calls()
    (record,) = calls.apply([started("c"), ended("c", answered=False)], 5.0)
    assert (record.answered, record.code) == (0.0, 486)
    assert (calls.answered_total, calls.failed_total) == (0, 1)


@given(seed=st.integers(), batches=st.integers(1, 6))
def test_any_order_and_repetition_gives_the_same_records(seed: int, batches: int) -> None:
    events: list[Event] = []
    for name in "abcd":
        events += [started(name), answered(name), ended(name)]
    shuffle = random.Random(seed)  # noqa: S311 - a test's order
    shuffled = events + shuffle.sample(events, 5)
    shuffle.shuffle(shuffled)
    calls, records = Calls(), []
    size = len(shuffled) // batches + 1
    for start in range(0, len(shuffled), size):
        records += calls.apply(shuffled[start : start + size], 5.0)
    expected = Calls().apply(events, 5.0)
    key = lambda record: record.call  # noqa: E731 - short
    assert sorted(records, key=key) == sorted(expected, key=key)
    assert calls.up == {}
    assert calls.apply([], 100.0) == []


def test_an_end_whose_start_was_lost_is_still_a_record() -> None:
    calls = Calls()
    assert calls.apply([answered("c"), ended("c")], 5.0) == []
    assert [event.call for event in calls.waiting()] == ["c", "c"]
    assert calls.apply([], 5.0 + PATIENCE - 0.1) == []
    (record,) = calls.apply([], 5.0 + PATIENCE)
    assert (record.call, record.started, record.caller) == ("c", 0.0, "")
    assert record.answered == 2.0
    assert calls.waiting() == []
    assert calls.apply([ended("c", 6.0)], 20.0) == []


def test_an_end_waits_for_an_answer_that_is_on_its_way() -> None:
    calls = Calls()
    assert calls.apply([started("c"), ended("c")], 5.0) == []
    assert calls.waiting() == [ended("c")]
    (record,) = calls.apply([answered("c")], 5.1)
    assert record.answered_by == "2002"
    calls.apply([started("d"), ended("d")], 5.0)
    (record,) = calls.apply([], 5.0 + PATIENCE)
    assert (record.answered, record.answered_by) == (2.0, "")
    assert calls.up == {}


def test_a_call_whose_end_is_known_does_not_go_on() -> None:
    calls = Calls()
    calls.apply([started("a"), started("b"), ended("a")], 5.0)
    assert [call.started.call for call in calls.going_on()] == ["b"]
    assert calls.up.keys() == {"a", "b"}


def test_the_same_call_id_may_start_again() -> None:
    calls = Calls()
    assert len(calls.apply([started("c"), ended("c", answered=False)], 5.0)) == 1
    assert len(calls.apply([started("c", 7.0), ended("c", 9.0, answered=False)], 9.0)) == 1
    assert calls.apply([started("c", 7.0)], 9.0) == []
    assert calls.up == {}


def test_who_ends_a_call_from_here_says_why() -> None:
    calls = Calls()
    calls.end_with("c", "media-timeout")
    (record,) = calls.apply([started("c"), answered("c"), ended("c")], 5.0)
    assert (record.reason, record.ended_by, record.code) == ("media-timeout", "system", 200)
    calls.end_with("d", "by an administrator")
    (record,) = calls.apply([started("d"), ended("d", answered=False)], 5.0)
    assert (record.reason, record.ended_by, record.code) == ("by an administrator", "system", 480)


def test_restored_calls_go_on() -> None:
    first = Calls()
    first.apply([started("c"), answered("c"), ended("early", answered=False)], 2.0)
    second = Calls()
    second.restore(first.up.values())
    second.apply(first.waiting(), 2.0)
    (record,) = second.apply([ended("c")], 3.0)
    assert record.answered == 2.0
    (record,) = second.apply([started("early")], 3.0)
    assert record.caller == "2001"

from __future__ import annotations

import gc
import weakref

import trio
import trio.testing

from services.core import garbage
from services.core.garbage import AT_LEAST_EVERY, EVERY, SHORT, YOUNG, Times


def test_a_short_one_is_made_once_a_minute() -> None:
    times = Times(0.0)
    assert not times.due(EVERY - 1, 0)
    assert times.due(EVERY, 0)
    times.done(EVERY, 10, SHORT / 2)
    assert not times.due(2 * EVERY - 1, 10)
    assert times.due(2 * EVERY, 10)


def test_a_long_one_waits_until_there_are_fewer_calls() -> None:
    times = Times(0.0)
    times.done(0.0, 99, SHORT * 2)
    assert not times.due(3 * EVERY, 99)
    assert not times.due(3 * EVERY, 60)
    assert times.due(3 * EVERY, 49)


def test_more_calls_make_a_long_one_of_a_short_one() -> None:
    times = Times(0.0)
    times.done(0.0, 9, SHORT / 2)
    assert times.due(EVERY, 19)
    assert not times.due(EVERY, 21)


def test_a_long_one_is_made_in_the_end() -> None:
    times = Times(0.0)
    times.done(0.0, 1000, 0.2)
    assert not times.due(AT_LEAST_EVERY - 1, 1000)
    assert times.due(AT_LEAST_EVERY, 1000)


class Ring:
    def __init__(self) -> None:
        self.own = self


async def test_rings_are_found_and_python_finds_none_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    before = gc.get_threshold()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(garbage.collect)
        await trio.sleep(EVERY / 2)
        assert gc.get_threshold() == YOUNG
        kept = Ring()
        gone = weakref.ref(kept)
        gc.collect(1)
        del kept
        assert gone() is not None
        await trio.sleep(EVERY)
        assert gone() is None
        nursery.cancel_scope.cancel()
    assert gc.get_threshold() == before

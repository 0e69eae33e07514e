"""Mixing, against what anybody would write down at first."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.core.audio.engine.loudness import levels
from services.core.audio.engine.rooms import Rooms

LEGS = 24
WIDTH = 8


def mixed(rooms: Rooms, sound: NDArray[np.int16], row: int) -> NDArray[np.int64]:
    """What a leg hears, as the plane makes it."""
    total = rooms.totals[rooms.room[row]].astype(np.int64)
    return total - (sound[row] if rooms.voiced[row] else 0)


def step(rooms: Rooms, sound: NDArray[np.int16]) -> None:
    listened = np.ones(LEGS, bool)
    if rooms.changed:
        rooms.refresh(listened)
    extended = np.concatenate([sound, np.zeros((1, WIDTH), np.int16)])
    rooms.step(extended, np.arange(LEGS), levels(extended.astype(np.float32)))


@given(
    st.lists(st.integers(-1, 3), min_size=LEGS, max_size=LEGS),
    st.sets(st.integers(0, LEGS - 1)),
    st.integers(0, 2**32),
)
def test_everybody_hears_the_others(where: list[int], muted: set[int], seed: int) -> None:
    rooms = Rooms(LEGS, 4, WIDTH)
    for room in range(4):
        rooms.open(room, 0)
    for row, room in enumerate(where):
        if room >= 0:
            rooms.join(room, row)
        rooms.muted[row] = row in muted
    sound = np.random.default_rng(seed).integers(-32768, 32768, (LEGS, WIDTH)).astype(np.int16)
    step(rooms, sound)
    for row, room in enumerate(where):
        if room < 0:
            continue
        others = [o for o in range(LEGS) if o != row and where[o] == room and o not in muted]
        expected = sound[others].astype(np.int64).sum(axis=0)
        np.testing.assert_array_equal(mixed(rooms, sound, row), expected)


@given(st.integers(1, 5), st.permutations(range(LEGS)), st.integers(0, 3))
def test_the_loudest_are_heard(speakers: int, order: list[int], silent: int) -> None:
    rooms = Rooms(LEGS, 2, WIDTH)
    rooms.open(1, speakers)
    for row in range(LEGS):
        rooms.join(1, row)
    loudness = 20000 * 0.8 ** np.arange(LEGS)
    loudness[LEGS - silent :] = 0
    sound = np.zeros((LEGS, WIDTH), np.int16)
    sound[order] = np.repeat(loudness[:, None], WIDTH, axis=1)
    step(rooms, sound)
    heard = order[:speakers]
    assert set(np.nonzero(rooms.voiced)[0]) == set(heard)
    for row in range(LEGS):
        expected = sound[[o for o in heard if o != row]].astype(np.int64).sum(axis=0)
        np.testing.assert_array_equal(mixed(rooms, sound, row), expected)


def test_a_pause_between_words_does_not_cost_a_voice_its_place() -> None:
    rooms = Rooms(LEGS, 1, WIDTH)
    rooms.open(0, 1)
    for row in range(3):
        rooms.join(0, row)
    sound = np.zeros((LEGS, WIDTH), np.int16)
    sound[0] = 8000
    step(rooms, sound)
    sound[0], sound[1] = 0, 4000
    for _ in range(5):
        step(rooms, sound)
        assert rooms.voiced[0]
        assert not rooms.voiced[1]
    for _ in range(40):
        step(rooms, sound)
    assert rooms.voiced[1], "but it does not keep it for ever"


def test_nobody_is_heard_where_all_are_faint() -> None:
    rooms = Rooms(LEGS, 1, WIDTH)
    rooms.open(0, 2)
    for row in range(5):
        rooms.join(0, row)
    step(rooms, np.ones((LEGS, WIDTH), np.int16))
    assert not rooms.voiced.any()


def test_who_leaves_is_heard_no_more() -> None:
    rooms = Rooms(LEGS, 2, WIDTH)
    rooms.open(0, 0)
    rooms.open(1, 0)
    for row in range(4):
        rooms.join(0, row)
    sound = np.full((LEGS, WIDTH), 100, np.int16)
    step(rooms, sound)
    assert rooms.totals[0, 0] == 400
    rooms.leave(3)
    rooms.join(1, 2)
    step(rooms, sound)
    assert rooms.totals[:, 0].tolist() == [200, 100]
    rooms.close(0)
    assert rooms.room[:4].tolist() == [-1, -1, 1, -1]
    step(rooms, sound)
    assert rooms.totals[1, 0] == 100

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.media.recording.stereo import AHEAD, CHUNK, Samples, Stereo

RATE = 1000


def ones(count: int, value: int = 1) -> Samples:
    return np.full(count, value, np.int16)


def all_of(stereo: Stereo, until: float) -> Samples:
    return np.concatenate([np.zeros((0, 2), np.int16), *stereo.take(until), *stereo.rest()])


def test_each_channel_in_its_place_and_silence_elsewhere() -> None:
    stereo = Stereo(RATE, 50.0)
    stereo.write(0, 50.1, ones(100, 5))
    stereo.write(1, 50.3, ones(50, 7))
    frames = all_of(stereo, 50.0)
    assert frames.shape == (350, 2)
    assert np.flatnonzero(frames[:, 0]).tolist() == list(range(100, 200))
    assert np.flatnonzero(frames[:, 1]).tolist() == list(range(300, 350))


def test_a_gap_of_a_sample_is_bridged_and_a_longer_one_is_silence() -> None:
    stereo = Stereo(RATE, 0.0)
    stereo.write(0, 0.0, ones(100, 9))
    stereo.write(0, 0.101, ones(99, 9))
    stereo.write(0, 0.3, ones(10, 9))
    left = all_of(stereo, 0.0)[:, 0]
    assert (left[:200] == 9).all()
    assert not left[200:300].any()


def test_what_comes_too_late_is_cut() -> None:
    stereo = Stereo(RATE, 0.0)
    stereo.write(1, 0.0, ones(10))
    taken = np.concatenate(list(stereo.take(1.0)))
    stereo.write(0, 0.95, ones(100, 3))
    rest = np.concatenate(list(stereo.rest()))
    assert not taken[:, 0].any()
    assert rest[:, 0].tolist() == [3] * 50


def test_a_long_hold_is_given_in_pieces() -> None:
    stereo = Stereo(RATE, 0.0)
    stereo.write(0, 0.0, ones(10, 2))
    pieces = list(stereo.take(3600.0))
    assert sum(len(piece) for piece in pieces) == 3600 * RATE
    assert max(len(piece) for piece in pieces) <= CHUNK * RATE
    stereo.write(1, 3600.5, ones(10, 4))
    rest = np.concatenate(list(stereo.rest()))
    assert np.flatnonzero(rest[:, 1]).tolist() == list(range(500, 510))


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.floats(-1, AHEAD + 3), st.integers(0, 300)), max_size=20
    )
)
def test_time_never_slips(writes: list[tuple[int, float, int]]) -> None:
    stereo = Stereo(RATE, 0.0)
    taken = 0.0
    total = 0
    for channel, ahead, count in writes:
        stereo.write(channel, taken + ahead, ones(count))
        taken += 0.7
        total += sum(len(piece) for piece in stereo.take(taken))
        assert total == round(taken * RATE)

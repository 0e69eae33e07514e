"""Jitter buffers against streams of which every sample says what it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.core.audio.engine.buffers import SLOTS, SPAN, START, Buffers

FRAME = 160
WRAP = 200 * FRAME


class Stream:
    """A sender whose sample n has the value n, and a listener to its buffer in row 1 of 3."""

    def __init__(self, first_timestamp: int = 0xFFFFFF00) -> None:
        self.buffers = Buffers(3)
        self.quiet = False
        self.first = first_timestamp
        self.heard: list[NDArray[np.int16] | None] = []

    def put(self, beat: int, at: int, size: int = FRAME) -> None:
        """The packet whose sound begins with sample ``at``."""
        rows = np.array([1])
        stamp = np.array([(self.first + at) & 0xFFFFFFFF])
        sound = (np.arange(at, at + size) % WRAP).astype(np.int16)[None]
        self.buffers.put(beat, rows, stamp, sound, FRAME)

    def take(self, beat: int) -> None:
        (sound,), (there,) = self.buffers.take(beat, np.array([1]), FRAME)
        self.heard.append(sound.copy() if there else None)
        self.buffers.adapt(beat, np.full(3, self.quiet))

    def numbers(self) -> list[int | None]:
        """The frames that were heard, by their number; each is whole and unmixed."""
        found: list[int | None] = []
        for sound in self.heard:
            if sound is None:
                found.append(None)
                continue
            assert (np.diff(sound) % WRAP == 1).all()
            assert sound[0] % FRAME == 0
            near = next((n for n in reversed(found) if n is not None), 0)
            found.append(near + (int(sound[0]) // FRAME - near + 100) % 200 - 100)
        return found


def run(delays: Sequence[int | None], *, quiet: bool = False) -> Stream:
    """Frame n is sent at beat n and comes ``delays[n]`` beats later, or never."""
    stream = Stream()
    stream.quiet = quiet
    for beat in range(len(delays) + SLOTS):
        for number, delay in enumerate(delays):
            if delay is not None and number + delay == beat:
                stream.put(beat, number * FRAME)
        stream.take(beat)
    return stream


def test_a_steady_stream_is_heard_whole_and_in_order() -> None:
    stream = run([0] * 24)
    assert [n for n in stream.numbers() if n is not None] == list(range(24))
    assert stream.buffers.late[1] == 0


def test_delay_that_nobody_needs_is_given_up_frame_by_frame() -> None:
    stream = run([0] * 300, quiet=True)
    heard = [n for n in stream.numbers() if n is not None]
    assert len(heard) >= 300 - START
    assert stream.buffers.delay[1] == 0


@given(st.lists(st.none() | st.integers(0, 4), min_size=1, max_size=80))
def test_nothing_is_heard_twice_or_out_of_order(delays: list[int | None]) -> None:
    heard = [n for n in run(delays).numbers() if n is not None]
    assert heard == sorted(set(heard))
    assert all(delays[n] is not None for n in heard)


@given(st.lists(st.integers(0, 2), min_size=5, max_size=60))
def test_jitter_within_the_delay_loses_nothing(delays: list[int]) -> None:
    delays[0] = 0
    heard = [n for n in run(delays).numbers() if n is not None]
    assert heard == list(range(len(delays)))


def test_the_delay_follows_jitter_and_comes_back() -> None:
    delays = [0] * 20 + [0, 5] * 20 + [0] * 600
    stream = run(delays, quiet=True)
    numbers = stream.numbers()
    bad = [n for n in range(24, 60) if n not in numbers]
    assert not bad, "after the first late one they are waited for"
    assert stream.buffers.delay[1] <= 1, "and afterwards not any more"
    quiet = [n for n in numbers if n is not None and n > 100]
    assert len(range(101, len(delays))) - len(quiet) <= 6, "a frame is left out for each beat"


@pytest.mark.parametrize("size", [80, 240, 320, 480])
def test_packets_of_other_lengths(size: int) -> None:
    stream = Stream()
    total = 36 * FRAME
    for beat in range(50):
        while stream_at(stream, size) <= beat * FRAME and stream_at(stream, size) + size <= total:
            stream.put(beat, stream_at(stream, size), size)
            stream.sent = getattr(stream, "sent", 0) + 1  # pyright: ignore[reportAttributeAccessIssue]
        stream.take(beat)
    heard = [n for n in stream.numbers() if n is not None]
    assert heard == list(range(total // FRAME))


def stream_at(stream: Stream, size: int) -> int:
    return getattr(stream, "sent", 0) * size


def test_repeated_packets_do_not_count() -> None:
    stream = Stream()
    for beat in range(60):
        stream.put(beat, beat * FRAME)
        if beat > 4:
            stream.put(beat, (beat - 4) * FRAME)
        stream.take(beat)
    assert stream.buffers.late[1] == 0
    assert stream.buffers.delay[1] == START
    assert stream.buffers.duplicates == 55


def test_one_packet_from_far_away_changes_nothing() -> None:
    stream = Stream()
    for beat in range(40):
        stream.put(beat, beat * FRAME)
        if beat == 20:
            stream.put(beat, -100 * FRAME)
            stream.put(beat, 5000 * FRAME)
        stream.take(beat)
    heard = [n for n in stream.numbers() if n is not None]
    assert heard == sorted(heard)
    assert heard[0] == 0
    assert heard[-1] >= 40 - START - 1
    assert len(heard) >= 40 - 2 * START


def test_time_stamps_that_begin_anew_are_followed() -> None:
    stream = Stream()
    for beat in range(80):
        at = beat * FRAME if beat < 40 else (beat + 90) * FRAME
        stream.put(beat, at)
        stream.take(beat)
    heard = [n for n in stream.numbers() if n is not None]
    assert [n for n in heard if n < 90] == list(range(40))
    after = [n for n in heard if n >= 90]
    assert after == list(range(after[0], 80 + 90 - START))
    assert after[0] <= 130 + 3


@pytest.mark.parametrize("drift", [0.98, 1.02])
def test_a_clock_that_runs_off_is_followed(drift: float) -> None:
    """Two percent, which is far more than any clock does."""
    stream = Stream()
    number = beat = 0
    for beat in range(190):
        while number <= beat * drift:
            stream.put(beat, number * FRAME)
            number += 1
        stream.take(beat)
    heard = [n for n in stream.numbers() if n is not None]
    assert len(heard) >= min(185, 185 * drift) - 4
    assert beat * drift - heard[-1] < 8


def test_rows_do_not_mix() -> None:
    buffers = Buffers(4)
    rows = np.array([0, 3, 2])
    for beat in range(20):
        sound = np.repeat(rows[:, None] * 100 + beat, FRAME, axis=1).astype(np.int16)
        buffers.put(beat, rows, np.full(3, beat * FRAME), sound, FRAME)
        taken, there = buffers.take(beat, np.arange(4), FRAME)
        if beat > START:
            assert there.tolist() == [True, False, True, True]
            assert taken[there, 0].tolist() == [
                beat - START,
                200 + beat - START,
                300 + beat - START,
            ]
    buffers.forget(3)
    assert not buffers.take(20, np.array([3]), FRAME)[1].any()
    assert SPAN > 1

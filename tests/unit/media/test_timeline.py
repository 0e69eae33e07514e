from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.recording.timeline import Placed, Timeline
from services.media.rtp import Packet


def clock(payload_type: int) -> int:
    return {8: 8000, 111: 48000}.get(payload_type, 0)


def packet(number: int, *, start: int = 0, ssrc: int = 1, kind: int = 8, ts: int = 0) -> Packet:
    return Packet(kind, (start + number) & 0xFFFF, (ts + number * 160) & 0xFFFFFFFF, ssrc, b"x")


def run(arrivals: list[tuple[float, Packet]]) -> tuple[list[Placed], Timeline]:
    timeline = Timeline(clock)
    placed = [p for time, one in arrivals for p in timeline.feed(time, one)]
    return placed + list(timeline.flush()), timeline


def test_an_even_stream_stays_where_it_arrived() -> None:
    placed, _ = run([(100 + n * 0.02, packet(n)) for n in range(50)])
    assert [p.time for p in placed] == pytest.approx([100 + n * 0.02 for n in range(50)])


def test_jitter_is_taken_out() -> None:
    chance = random.Random(1)  # noqa: S311 - a test's dice
    placed, _ = run([(n * 0.02 + chance.uniform(0, 0.04), packet(n)) for n in range(3000)])
    steps = [b.time - a.time for a, b in pairwise(placed)]
    assert max(abs(step - 0.02) for step in steps) < 0.0003
    assert abs(placed[-1].time - 2999 * 0.02) < 0.02


def test_numbers_that_wrap_change_nothing() -> None:
    placed, timeline = run([(n * 0.02, packet(n, start=65530, ts=0xFFFFFF00)) for n in range(40)])
    assert [p.time for p in placed] == pytest.approx([n * 0.02 for n in range(40)])
    assert timeline.lost == 0


def test_packets_out_of_order_and_twice_come_out_in_order_and_once() -> None:
    order = [0, 2, 1, 1, 3, 6, 5, 4, 7]
    placed, timeline = run([(i * 0.02, packet(n)) for i, n in enumerate(order)])
    assert [p.packet.sequence for p in placed] == list(range(8))
    assert timeline.late == 1


def test_twins_that_wait_for_a_third_are_told_apart() -> None:
    placed, timeline = run([(0.0, packet(0)), (0.0, packet(2)), (0.0, packet(2)), (0.0, packet(1))])
    assert [p.packet.sequence for p in placed] == [0, 1, 2]
    assert timeline.late == 1


def test_a_lost_packet_leaves_its_place_empty() -> None:
    placed, timeline = run([(n * 0.02, packet(n)) for n in range(100) if n not in (10, 11, 40)])
    assert timeline.lost == 3
    assert len(placed) == 97
    at = {p.packet.sequence: p.time for p in placed}
    assert at[12] - at[9] == pytest.approx(0.06, abs=0.001)


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
def test_a_clock_that_is_off_is_followed(drift: float) -> None:
    """Half an hour at 200 ppm is 0.36 s, which nobody may hear."""
    chance = random.Random(2)  # noqa: S311 - a test's dice
    count = 90_000
    placed, _ = run(
        [(n * 0.02 * (1 + drift) + chance.uniform(0, 0.01), packet(n)) for n in range(count)]
    )
    assert len(placed) == count
    assert abs(placed[-1].time - (count - 1) * 0.02 * (1 + drift)) < 0.02
    steps = [b.time - a.time for a, b in pairwise(placed)]
    assert max(abs(step - 0.02) for step in steps) < 0.0003


def test_a_pause_without_timestamps_and_a_new_sender_start_where_they_arrive() -> None:
    first = [(n * 0.02, packet(n)) for n in range(10)]
    held = [(30 + n * 0.02, packet(n + 10)) for n in range(10)]
    other = [(31 + n * 0.02, packet(n, start=7, ssrc=2, ts=5000)) for n in range(10)]
    placed, timeline = run(first + held + other)
    assert placed[10].time == pytest.approx(30)
    assert placed[20].time == pytest.approx(31)
    assert timeline.lost == 0


def test_silence_suppression_keeps_its_place() -> None:
    numbers = [*range(10), *range(60, 70)]
    stream = [(n * 0.02, Packet(8, i, n * 160, 1, b"x")) for i, n in enumerate(numbers)]
    placed, timeline = run(stream)
    assert placed[10].time == pytest.approx(1.2)
    assert timeline.lost == 0


def test_telephone_events_have_no_sound() -> None:
    placed, timeline = run([(0.0, packet(0)), (0.02, packet(1, kind=101)), (0.04, packet(2))])
    assert [p.packet.payload_type for p in placed] == [8, 8]
    assert timeline.lost == 0


@given(
    st.lists(
        st.tuples(
            st.floats(0, 3),
            st.integers(0, 65535),
            st.integers(0, 2**32 - 1),
            st.sampled_from([1, 2]),
            st.sampled_from([8, 101, 111]),
        ),
        max_size=80,
    )
)
def test_whatever_comes_nothing_is_placed_far_from_when_it_came(
    packets: list[tuple[float, int, int, int, int]],
) -> None:
    now = 0.0
    timeline = Timeline(clock)
    for step, sequence, timestamp, ssrc, kind in packets:
        now += step
        for placed in timeline.feed(now, Packet(kind, sequence, timestamp, ssrc, b"")):
            assert -10 < placed.time <= now + 0.1

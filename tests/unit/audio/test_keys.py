from __future__ import annotations

import random
import struct
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.audio.keys import KEYS, LONGEST, Heard, Payload, Sending, build, parse

SSRC = 7


class Sent(NamedTuple):
    timestamp: int
    payload: bytes


def sent(keys: str, start: int = 1000, held: int = 5) -> list[list[Sent]]:
    """The packets of each key."""
    made: list[list[Sent]] = []
    for packet in Sending(keys, 160, held, 3).packets(start):
        if packet is not None:
            if packet.marker:
                made.append([])
            made[-1].append(Sent(packet.timestamp, packet.payload))
    return made


def heard(packets: list[Sent], machine: Heard | None = None) -> str:
    machine = machine or Heard()
    return "".join(machine.feed(SSRC, p.timestamp, p.payload) for p in packets)


KEY_STRINGS = st.text(st.sampled_from(KEYS), min_size=1, max_size=12)


@given(KEY_STRINGS, st.integers(0, 0xFFFFFFFF), st.randoms(use_true_random=False))
def test_each_key_once_whatever_is_lost_late_or_repeated(
    keys: str, start: int, rng: random.Random
) -> None:
    arrivals: list[tuple[float, Sent]] = []
    at = 0.0
    for packets in sent(keys, start):
        survivors = [p for p in packets if rng.random() < 0.5] or [rng.choice(packets)]
        for packet in packets:
            if packet in survivors:
                times = range(rng.choice((1, 1, 1, 2, 3)))
                arrivals += [(at + rng.random() * 0.059, packet) for _ in times]
            at += 0.02
        at += 0.06
    arrivals.sort(key=lambda item: item[0])
    assert sorted(heard([packet for _, packet in arrivals])) == sorted(keys)


@given(KEY_STRINGS, st.integers(0, 0xFFFFFFFF), st.integers(2, 20))
def test_in_order_they_come_in_order(keys: str, start: int, held: int) -> None:
    packets = [packet for key in sent(keys, start, held) for packet in key]
    assert heard(packets) == keys


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 0xFFFFFFFF), st.binary(max_size=9))))
def test_any_payload_is_survived(packets: list[tuple[int, int, bytes]]) -> None:
    machine = Heard()
    for ssrc, timestamp, payload in packets:
        assert machine.feed(ssrc, timestamp, payload) in ("", *KEYS)


@given(st.integers(0, 255), st.booleans(), st.integers(0, 63), st.integers(0, 0xFFFF))
def test_payload_there_and_back(event: int, end: bool, volume: int, duration: int) -> None:
    payload = Payload(event, end, volume, duration)
    assert parse(build(payload)) == payload


def test_events_that_are_no_keys_are_none() -> None:
    for event in (16, 32, 70, 255):
        assert heard([Sent(0, struct.pack("!BBH", event, 10, 160))]) == ""


def test_a_press_longer_than_a_duration_is_one() -> None:
    """RFC 4733 section 2.5.1.3: it goes on as a segment with a time stamp of its own."""
    first = [Sent(5000, build(Payload(3, False, 10, d))) for d in (160, 30000, LONGEST)]
    second = [Sent(5000 + LONGEST, build(Payload(3, e, 10, 160))) for e in (False, True)]
    assert heard([*first, *second]) == "3"


def test_the_same_key_twice_is_two() -> None:
    assert heard([p for key in sent("55") for p in key]) == "55"


def test_a_new_stream_may_use_old_time_stamps() -> None:
    machine = Heard()
    (packets,) = sent("5")
    assert heard(packets, machine) == "5"
    assert machine.feed(SSRC + 1, packets[0].timestamp, packets[0].payload) == "5"


def test_what_is_no_key_is_not_sent() -> None:
    with pytest.raises(ValueError):
        list(Sending("x", 160, 5, 3).packets(0))


def test_the_end_is_sent_three_times() -> None:
    (packets,) = sent("1", held=5)
    found = [parse(p.payload) for p in packets]
    assert [f.duration for f in found if f] == [160, 320, 480, 640, 800, 800, 800]
    assert [f.end for f in found if f] == [False] * 4 + [True] * 3
    assert {p.timestamp for p in packets} == {1000}

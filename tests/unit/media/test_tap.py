"""Keys read off packets, whatever the packets are."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.keys import KEPT
from services.media.tap import Tap

V4 = ("10.20.0.121", "10.20.0.31")
V6 = ("2001:db8::21", "2001:db8::31")


def packet(
    key: int, *, port: int = 30000, at: int = 8000, ssrc: int = 7, ends: tuple[str, str] = V4
) -> bytes:
    """The last packet of a telephone event, from its IP header on."""
    source, destination = (ip_address(end).packed for end in ends)
    event = struct.pack("!BBHIIBBH", 0x80, 101, 5, at, ssrc, key, 0x8A, 800)
    udp = struct.pack("!HHHH", port, 40000, 8 + len(event), 0) + event
    if ends is V6:
        return struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + source + destination + udp
    head = struct.pack("!BBHHHBBH", 0x45, 184, 20 + len(udp), 0, 0, 64, 17, 0)
    return head + source + destination + udp


@pytest.mark.parametrize("ends", [V4, V6])
def test_a_key_is_of_the_port_that_it_left_from_once(ends: tuple[str, str]) -> None:
    tap = Tap()
    for now in (1.0, 1.02, 1.04):
        tap.saw(packet(5, ends=ends), now)
    tap.saw(packet(5, at=16000, ends=ends), 2.0)
    tap.saw(packet(11, port=30002, ends=ends), 3.0)
    here = ends[0]
    assert tap.of([(here, 30000)], 60.0, 4.0) == [("5", 3.0), ("5", 2.0)]
    assert tap.of([(here, 30000), (here, 30002)], 60.0, 4.0)[-1] == ("#", 1.0)
    assert not tap.of([(here, 30004), (ends[1], 30000)], 60.0, 4.0)


def test_another_calls_keys_at_the_same_port_are_not_told() -> None:
    tap = Tap()
    tap.saw(packet(1), 10.0)
    tap.saw(packet(2, at=16000), 20.0)
    assert tap.of([(V4[0], 30000)], 5.0, 21.0) == [("2", 1.0)]
    tap.forget(20.0 + KEPT)
    assert not tap.of([(V4[0], 30000)], 1000.0, 20.0 + KEPT)


@given(st.binary(max_size=80), st.integers(0, 255))
def test_no_packet_breaks_it(data: bytes, event: int) -> None:
    tap = Tap()
    tap.saw(data, 1.0)
    tap.saw(packet(event), 1.0)
    assert len(tap.of([(V4[0], 30000)], 1.0, 1.0)) == (event < 16)

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.media.rtp import Packet, build, parse

PACKETS = st.builds(
    Packet,
    st.integers(0, 63) | st.integers(96, 127),
    st.integers(0, 65535),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=200),
    st.booleans(),
)


@given(PACKETS)
def test_written_and_read(packet: Packet) -> None:
    assert parse(build(packet)) == packet


@given(st.binary(max_size=100))
def test_anything_may_come(data: bytes) -> None:
    parse(data)


def test_padding_extension_and_contributors_are_taken_off() -> None:
    head = bytes([0xB1, 8, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3])
    found = parse(head + b"CSRC" + b"\xbe\xde\x00\x01" + b"EXT1" + b"sound" + b"\x00\x00\x03")
    assert found is not None
    assert found.payload == b"sound"


def test_rtcp_is_not_rtp() -> None:
    assert parse(bytes([0x80, 200]) + bytes(26)) is None

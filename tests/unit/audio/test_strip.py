"""Headers with everything that RFC 3550 allows in them."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.core.audio.engine.receiver import HEADER, LARGEST, strip
from services.media import rtp


def packet(csrcs: int, extension: int | None, padding: int, payload: bytes) -> bytes:
    first = 0x80 | csrcs | (0x10 if extension is not None else 0) | (0x20 if padding else 0)
    made = struct.pack("!BBHII", first, 0, 1, 2, 3) + bytes(4 * csrcs)
    if extension is not None:
        made += struct.pack("!HH", 0xBEDE, extension) + bytes(4 * extension)
    return made + payload + (bytes(padding - 1) + bytes([padding]) if padding else b"")


def stripped(packets: list[bytes]) -> list[bytes | None]:
    data = np.zeros((len(packets), LARGEST), np.uint8)
    lengths = np.array([len(p) for p in packets], np.int64)
    for row, raw in zip(data, packets, strict=True):
        row[: len(raw)] = np.frombuffer(raw, np.uint8)
    sound = strip(data, lengths, np.arange(len(packets)))
    return [
        row[HEADER:length].tobytes() if fine else None
        for row, length, fine in zip(data, lengths, sound, strict=True)
    ]


PACKETS = st.builds(
    packet,
    st.integers(0, 15),
    st.none() | st.integers(0, 20),
    st.sampled_from((0, 1, 4, 255)),
    st.binary(max_size=320),
)


@given(st.lists(PACKETS, min_size=1, max_size=20), st.data())
def test_as_the_plain_parser_reads_them(packets: list[bytes], draw: st.DataObject) -> None:
    cut = [raw[: draw.draw(st.integers(HEADER, len(raw)))] for raw in packets]
    for given_packets in (packets, cut):
        expected = [rtp.parse(raw) for raw in given_packets]
        for raw, found, plain in zip(given_packets, stripped(given_packets), expected, strict=True):
            if found is not None:
                assert plain is not None
                assert found == plain.payload
            else:
                assert raw in cut
    assert stripped(packets) == [plain.payload for raw in packets if (plain := rtp.parse(raw))]

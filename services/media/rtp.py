"""RTP packets (RFC 3550 section 5.1), read and written."""

from __future__ import annotations

import struct

import msgspec

HEADER = struct.Struct("!BBHII")


class Packet(msgspec.Struct, frozen=True):
    """``payload`` is without padding and header extension."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False


def parse(data: bytes) -> Packet | None:
    """The packet in ``data``; None if it is RTCP (RFC 5761 section 4), or no RTP at all."""
    if len(data) < HEADER.size:
        return None
    first, second, sequence, timestamp, ssrc = HEADER.unpack_from(data)
    if first >> 6 != 2 or 192 <= second <= 223:
        return None
    start = HEADER.size + 4 * (first & 0x0F)
    end = len(data)
    if first & 0x10:
        if end < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    if first & 0x20:
        end -= data[-1]
    if end < start:
        return None
    return Packet(second & 0x7F, sequence, timestamp, ssrc, data[start:end], second >= 128)


def build(packet: Packet) -> bytes:
    """The packet's bytes; sequence and timestamp wrap."""
    return (
        HEADER.pack(
            0x80,
            packet.payload_type | (0x80 if packet.marker else 0),
            packet.sequence & 0xFFFF,
            packet.timestamp & 0xFFFFFFFF,
            packet.ssrc,
        )
        + packet.payload
    )

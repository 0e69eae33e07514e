"""The captures that rtpengine 10.5 writes (recording-method pcap, format raw): read as a stream.

The packets in them are as they came in, each with a made-up IP and UDP header; those of SRTP calls
have been decrypted. Source: the libpcap file format; LINKTYPE_RAW.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_GLOBAL = 24
_RECORD = 16
LINKTYPE_RAW = (101, 12)
MAX_RECORD = 65535 + 64


class PcapError(Exception):
    """The file is no capture of this kind."""


class Captured(NamedTuple):
    """``time`` in Unix seconds; ``port``: rtpengine's own, where the packet came in."""

    time: float
    port: int
    data: bytes


def read(file: BinaryIO) -> Iterator[Captured]:
    """The UDP packets, in the order they were captured. Raises PcapError.

    A file that ends inside a packet, as a killed process leaves it, ends with the packet before.
    An empty one, not yet flushed at all, has none.
    """
    header = file.read(_GLOBAL)
    if not header:
        return
    order = _byte_order(header)
    record = struct.Struct(f"{order}IIII")
    while True:
        head = file.read(_RECORD)
        if len(head) < _RECORD:
            return
        seconds, micros, length, _ = record.unpack(head)
        if length > MAX_RECORD:
            return  # no packet is that long: what follows is not one
        data = file.read(length)
        if len(data) < length:
            return
        found = _udp(data)
        if found is not None:
            yield Captured(seconds + micros / 1e6, *found)


def _byte_order(header: bytes) -> str:
    if len(header) < _GLOBAL:
        raise PcapError("the file is shorter than a capture's header")
    for order in "<>":
        magic, _, _, _, _, _, linktype = struct.unpack(f"{order}IHHiIII", header)
        if magic == 0xA1B2C3D4:
            if linktype not in LINKTYPE_RAW:
                raise PcapError(f"link type {linktype}, expected {LINKTYPE_RAW[0]} (raw IP)")
            return order
    raise PcapError("not a capture: wrong magic number")


def _udp(packet: bytes) -> tuple[int, bytes] | None:
    """Destination port and payload of an IPv4 or IPv6 packet."""
    if not packet:
        return None
    version = packet[0] >> 4
    start = (packet[0] & 0x0F) * 4 if version == 4 else 40 if version == 6 else 0
    if not start or len(packet) < start + 8:
        return None
    return int.from_bytes(packet[start + 2 : start + 4], "big"), packet[start + 8 :]

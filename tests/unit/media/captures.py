"""Captures as rtpengine writes them, made in memory."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from services.media.rtp import Packet, build

HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)


def record(time: float, port: int, data: bytes, *, ipv6: bool = False) -> bytes:
    udp = struct.pack("!HHHH", 4000, port, 8 + len(data), 0) + data
    if ipv6:
        ip = struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + bytes(32)
    else:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + bytes(8)
    whole = ip + udp
    seconds = int(time)
    micros = round((time - seconds) * 1e6)
    return struct.pack("<IIII", seconds, micros, len(whole), len(whole)) + whole


def write(path: Path, packets: Iterable[tuple[float, int, Packet]]) -> Path:
    """``packets``: time, port, packet."""
    with path.open("wb") as file:
        file.write(HEADER)
        for time, port, packet in packets:
            file.write(record(time, port, build(packet)))
    return path

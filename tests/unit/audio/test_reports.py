"""RTCP packets, against RFC 3550 section 6.4 as it is written there."""

from __future__ import annotations

import mmap
import struct
import time

import numpy as np
import pytest

from services.core.audio.board import Board, size
from services.core.audio.engine.legs import Legs
from services.core.audio.engine.reports import Reports, description, middle

OURS, THEIRS = 0x11223344, 0xA1B2C3D4


def legs(count: int = 3) -> Legs:
    made = Legs(count, Board(count, mmap.mmap(-1, size(count))), [])
    made.ssrc_out[:] = OURS
    made.board.round_trip[:] = np.nan
    return made


def take(made: Legs, packet: bytes, arrived: float) -> None:
    data = np.zeros((1, 1360), np.uint8)
    data[0, : len(packet)] = np.frombuffer(packet, np.uint8)
    reports = Reports(made, [], 2, "x@y")
    reports.take(np.array([1]), data, np.array([len(packet)]), np.array([arrived]))


def block(lost: int = 0, last: int = 0, delay: int = 0, ssrc: int = OURS) -> bytes:
    return struct.pack("!IIIIII", ssrc, lost << 24, 0, 0, last, delay)


@pytest.mark.parametrize("head", [
    struct.pack("!BBHI", 0x81, 201, 7, THEIRS),
    struct.pack("!BBHIQIII", 0x81, 200, 12, THEIRS, 0, 0, 0, 0),
])  # fmt: skip
def test_what_the_other_side_tells(head: bytes) -> None:
    made, now = legs(), time.time()
    sent = int(middle(np.array([now]))[0])
    take(made, head + block(lost=64, last=sent, delay=65536 // 2), now + 0.58)
    assert made.board.round_trip[1] == pytest.approx(0.08, abs=0.001)
    assert made.board.remote_lost[1] == 0.25
    assert np.isnan(made.board.round_trip[[0, 2]]).all()


@pytest.mark.parametrize("packet", [
    b"", b"\x81\xc9\x00\x07", struct.pack("!BBHI", 0x81, 201, 7, THEIRS),
    struct.pack("!BBHI", 0x80, 201, 1, THEIRS) + block(99),
    struct.pack("!BBHI", 0x81, 201, 7, THEIRS) + block(99)[:-1],
    struct.pack("!BBHI", 0x81, 201, 7, THEIRS) + block(99, ssrc=THEIRS),
    struct.pack("!BBHI", 0x41, 201, 7, THEIRS) + block(99),
    struct.pack("!BBHI", 0x9F, 200, 7, THEIRS) + block(99)[:10],
    struct.pack("!BBHI", 0x81, 203, 7, THEIRS) + block(99),
])  # fmt: skip
def test_what_is_no_report_of_ours_changes_nothing(packet: bytes) -> None:
    made = legs()
    take(made, packet, time.time())
    assert np.isnan(made.board.round_trip).all()
    assert not made.board.remote_lost.any()


def test_a_description_is_whole_words() -> None:
    for cname in ("a", "ab", "abc", "abcd", "0123456789abcdef@10.0.0.1"):
        packet = description(cname).tobytes()
        assert len(packet) % 4 == 0
        assert struct.unpack("!BBH", packet[:4]) == (0x81, 202, len(packet) // 4 - 1)
        assert packet[8:10] == bytes((1, len(cname)))
        assert packet[10:].rstrip(b"\0") == cname.encode()
        assert packet.endswith(b"\0")

"""What the plane's process shows of itself, in memory that the service can read at any time."""

from __future__ import annotations

import mmap
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)
LATENESS = 64
"""Buckets of the lateness histogram, a half millisecond each; the last holds all that is more."""
BUCKET = 0.0005
DROPPED = ("malformed", "unknown_source", "payload_type", "duplicate")
"""Why packets are dropped."""


class Board:
    """Arrays in shared memory. One side writes, the other reads; no value is wider than a word."""

    def __init__(self, capacity: int, memory: mmap.mmap) -> None:
        self._memory = memory
        self._at = 0
        n = capacity
        self.generation = self._array(n, np.uint32)
        """Which use of the row the figures are of."""
        self.position = self._array(n, np.int64)
        """Samples of the present playback that have been sent."""
        self.playback = self._array(n, np.uint32)
        self.level = self._array(n, np.float32)
        """dBov of the last frame heard (RFC 6464: -127 is silence)."""
        self.speaking = self._array(n, np.uint8)
        self.sent = self._array(n, np.int64)
        self.received = self._array(n, np.int64)
        self.lost = self._array(n, np.int64)
        self.late = self._array(n, np.int64)
        self.concealed = self._array(n, np.int64)
        self.jitter = self._array(n, np.float32)
        """Seconds, smoothed as in RFC 3550."""
        self.delay = self._array(n, np.float32)
        """Seconds that the jitter buffer holds sound back."""
        self.round_trip = self._array(n, np.float32)
        """Seconds, from RTCP; not a number until it is known."""
        self.remote_lost = self._array(n, np.float32)
        """Part of our packets that the other side lost lately, from RTCP."""
        self.lateness = self._array(LATENESS, np.int64)
        """Frames by how late they began."""
        self.dropped = self._array(len(DROPPED), np.int64)
        self.counters = self._array(len(COUNTERS), np.float64)
        self.until = self._array(1, np.float64)
        """When to fall silent, in seconds since boot (CLOCK_BOOTTIME); 0 for never."""

    def _array(self, count: int, kind: type[T]) -> NDArray[T]:
        size = np.dtype(kind).itemsize
        self._at += -self._at % 64
        made = np.frombuffer(self._memory, kind, count, self._at)
        self._at += count * size
        return made


COUNTERS = ("frames", "skipped", "busy", "packets_in", "packets_out", "unsent")
"""``busy`` in seconds of work; ``skipped``: frames that were not sent, after a long pause."""
FRAMES, SKIPPED, BUSY, PACKETS_IN, PACKETS_OUT, UNSENT = range(len(COUNTERS))


def size(capacity: int) -> int:
    """Bytes that a board of ``capacity`` rows needs."""
    return 4096 + capacity * 128 + 64 * 32

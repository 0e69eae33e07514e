"""Two channels written at any time become one stream of frames, in bounded memory: pure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
CHUNK = 10
"""Seconds of frames given out at once, at most: a long hold is silence that nobody has to keep."""
AHEAD = 5
"""Seconds that a channel may run ahead of the horizon; what lies beyond is cut."""
HOLD = 0.002
"""Seconds of gap that are bridged with the last sample: the time line moves by single samples."""


class Stereo:
    """Frames of 16-bit samples at ``rate`` Hz, the first at ``start`` (seconds)."""

    def __init__(self, rate: int, start: float) -> None:
        self._rate = rate
        self._start = start
        self._first = 0
        self._buffer = np.zeros((rate * (AHEAD + 1), 2), np.int16)
        self._end = [0, 0]

    def write(self, channel: int, time: float, samples: Samples) -> None:
        """Put sound at ``time``; what overlaps is replaced, what was given out already is cut."""
        at = round((time - self._start) * self._rate)
        gap = at - self._end[channel]
        begin = at - self._first
        if 0 < gap <= HOLD * self._rate and begin - gap > 0:
            self._buffer[begin - gap : begin, channel] = self._buffer[begin - gap - 1, channel]
        if begin < 0:
            samples = samples[-begin:] if -begin < len(samples) else samples[:0]
            begin = 0
        samples = samples[: max(0, len(self._buffer) - begin)]
        self._buffer[begin : begin + len(samples), channel] = samples
        if len(samples):
            self._end[channel] = self._first + begin + len(samples)

    def take(self, until: float) -> Iterator[Samples]:
        """Frames up to ``until`` (seconds), shape (n, 2), silence where nothing was written."""
        wanted = round((until - self._start) * self._rate)
        while self._first < wanted:
            count = min(wanted - self._first, self._rate * CHUNK)
            held = min(count, len(self._buffer))
            frames = np.zeros((count, 2), np.int16)
            frames[:held] = self._buffer[:held]
            self._buffer[:-held] = self._buffer[held:].copy()
            self._buffer[-held:] = 0
            self._first += count
            yield frames

    def rest(self) -> Iterator[Samples]:
        """The frames up to the last sound."""
        yield from self.take(self._start + max(self._end) / self._rate)

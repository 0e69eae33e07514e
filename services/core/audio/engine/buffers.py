"""Jitter buffers: sound that came at any time and in any order is taken out one frame a beat.

Time is counted in beats. A stream's time stamps are tied to it when it begins, so that each frame
of sound has a number, and the frame with the number ``beat - delay`` is taken in a beat. How late a
packet comes is then a whole number too: its ``lag``. A buffer's delay follows the greatest lag of
the last seconds, which covers jitter, a change of the path, and a sender's clock that drifts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SLOTS = 16
"""Frames that a buffer holds, 320 ms: the most that it can be behind the earliest packet."""
START = 2
"""Delay of a stream that has just begun."""
FAR = 10
"""Frames behind the delay of packets that are far off: the time stamps may have begun anew."""
BUCKETS = 8
"""The greatest lag is kept for so many spans of `SPAN` beats: 4 s."""
SPAN = 25
SURE = 3
"""Packets in a row that must be so far off."""
HASTE = 3
"""Frames of too much delay from which on one is left out in the middle of speech."""
NEVER = -1_000_000

Rows = NDArray[np.int64]
Samples = NDArray[np.int16]


class Buffers:
    """One buffer a row. ``width``: samples of a frame, of the widest row."""

    def __init__(self, capacity: int, width: int = 160) -> None:
        self._capacity = capacity
        self._width = width
        self._ring = np.zeros((capacity * SLOTS, width), np.int16)
        self._tag = np.full(capacity * SLOTS, NEVER, np.int64)
        """Which frame is in each slot."""
        self._taken = np.zeros(capacity * SLOTS, bool)
        self._played = np.full(capacity, NEVER, np.int64)
        self._begun = np.zeros(capacity, bool)
        self._strange = np.zeros(capacity, np.int64)
        self._offset = np.zeros(capacity, np.int64)
        self.delay = np.full(capacity, START, np.int64)
        """Frames by which each row is behind the packet that it began with."""
        self._lags = np.full((BUCKETS, capacity), NEVER, np.int64)
        self._bucket = 0
        self.late = np.zeros(capacity, np.int64)
        """Packets that came after their time."""
        self.duplicates = 0

    def widen(self, width: int) -> None:
        """Make room for wider frames; what is in the buffers stays."""
        if width > self._width:
            ring = np.zeros((len(self._ring), width), np.int16)
            ring[:, : self._width] = self._ring
            self._ring, self._width = ring, width

    def forget(self, row: int) -> None:
        """What comes next is a new stream."""
        self._begun[row] = False

    def put(self, beat: int, rows: Rows, timestamps: Rows, sound: Samples, frame: int) -> None:
        """Packets of the same size, one each of ``sound``; ``frame`` samples make a frame."""
        step = beat * frame
        ahead = _signed(timestamps - self._offset[rows] - step)
        lag = -(ahead // frame)
        delay = self.delay[rows]
        begun = self._begun[rows]
        strange = begun & ((lag > delay + FAR) | (lag <= delay - SLOTS))
        if strange.any() or not begun.all():
            np.add.at(self._strange, rows[strange], 1)
            self._strange[rows[begun & ~strange]] = 0
            new = ~begun | (strange & (self._strange[rows] >= SURE))
            self._begin(rows[new], timestamps[new] - step)
            kept = new | ~strange
            rows, timestamps, sound = rows[kept], timestamps[kept], sound[kept]
            ahead = _signed(timestamps - self._offset[rows] - step)
            lag = -(ahead // frame)
        whole = sound.shape[1] == frame and not (ahead % frame).any()
        slots = rows * SLOTS + (beat - lag) % SLOTS
        again = (self._tag[slots] == beat - lag) & (self._taken[slots] | whole)
        if again.any():
            self.duplicates += np.count_nonzero(again)
            kept = ~again
            rows, slots, ahead, lag = rows[kept], slots[kept], ahead[kept], lag[kept]
            sound = sound[kept]
        np.maximum.at(self._lags[self._bucket], rows, lag)
        late = lag > self.delay[rows]
        if late.any():  # it is waited for, a bit too late; from now on such ones come in time
            np.add.at(self.late, rows[late], 1)
            np.maximum.at(self.delay, rows[late], lag[late])
        if whole:
            self._ring[slots, :frame] = sound
            self._tag[slots] = beat - lag
            self._taken[slots] = False
        else:
            self._scatter(rows, beat - lag, ahead % frame, sound, frame)

    def _begin(self, rows: Rows, offsets: Rows) -> None:
        # The first packet of each row in the batch counts, so it is written last.
        self._offset[rows[::-1]] = offsets[::-1]
        self._begun[rows] = True
        self._strange[rows] = 0
        self._played[rows] = NEVER
        self.delay[rows] = START
        self._lags[:, rows] = NEVER
        slots = rows[:, None] * SLOTS + np.arange(SLOTS)
        self._tag[slots] = NEVER

    def _scatter(self, rows: Rows, number: Rows, inside: Rows, sound: Samples, frame: int) -> None:
        """Packets that are not one frame, or do not begin where a frame does."""
        size = sound.shape[1]
        for part in range((size + frame - 1) // frame + 1):
            first = part * frame - inside  # of the packet's samples, the one that begins the part
            some = (first < size) & (first + frame > 0)
            if not some.any():
                continue
            slots = rows[some] * SLOTS + (number[some] + part) % SLOTS
            stale = self._tag[slots] != number[some] + part
            self._ring[slots[stale]] = 0
            self._tag[slots] = number[some] + part
            self._taken[slots] = False
            at = first[some, None] + np.arange(frame)
            there = (at >= 0) & (at < size)
            chosen = np.take_along_axis(sound[some], np.clip(at, 0, size - 1), axis=1)
            self._ring[slots, :frame] = np.where(there, chosen, self._ring[slots, :frame])

    def take(self, beat: int, rows: Rows, frame: int) -> tuple[Samples, NDArray[np.bool_]]:
        """The frame of each row that is due, and whether it is there."""
        number = beat - self.delay[rows]
        slots = rows * SLOTS + number % SLOTS
        there = (self._tag[slots] == number) & ~self._taken[slots] & self._begun[rows]
        there &= number > self._played[rows]  # what has been overtaken is not heard any more
        self._taken[slots] = True
        self._played[rows[there]] = number[there]
        sound = np.take(self._ring, slots, axis=0)
        return (sound if frame == self._width else sound[:, :frame]), there

    def adapt(self, beat: int, quiet: NDArray[np.bool_]) -> None:
        """Shorten what is longer than it need be, by a frame; in speech only if by much.

        To be called once a beat; it does something every `SPAN` beats.
        """
        if beat % SPAN:
            return
        wanted = self._lags.max(axis=0)
        excess = np.where(wanted > NEVER, self.delay - wanted, 0)
        self.delay -= (excess >= HASTE) | ((excess > 0) & quiet)
        self._bucket = (self._bucket + 1) % BUCKETS
        self._lags[self._bucket] = NEVER

    def held(self, rows: Rows) -> NDArray[np.int64]:
        """Frames that sound waits in the buffer, beyond the fastest packet's way."""
        seen = np.where(self._lags > NEVER, self._lags, -NEVER).min(axis=0)[rows]
        return np.where(seen < -NEVER, self.delay[rows] - seen, 0)


def _signed(difference: Rows) -> Rows:
    """A difference of 32-bit time stamps, the nearer way round."""
    return ((difference + 0x80000000) & 0xFFFFFFFF) - 0x80000000

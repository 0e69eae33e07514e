"""Sound that all legs of a plane share: decoded and encoded once, in memory of both processes."""

from __future__ import annotations

import mmap
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.core.audio import g711

FRAMES = 50
"""A second."""
NARROW = 8000
_ALIGN = 4096


class Layout(NamedTuple):
    """Where what is in an arena of ``frames`` frames: 16-bit samples at ``rate``, then the codes
    of both laws at 8 kHz."""

    frames: int
    rate: int

    @property
    def size(self) -> int:
        """Bytes; only what is used takes memory."""
        width = self.rate // FRAMES * 2 + 2 * (NARROW // FRAMES)
        return self.frames * width + 3 * _ALIGN

    def arrays(
        self, memory: mmap.mmap
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.uint8]]:
        """Samples, µ-law codes and A-law codes, a row a frame."""
        width, narrow = self.rate // FRAMES, NARROW // FRAMES
        pcm = np.frombuffer(memory, np.int16, self.frames * width, 0).reshape(-1, width)
        at = pcm.nbytes + -pcm.nbytes % _ALIGN
        ulaw = np.frombuffer(memory, np.uint8, self.frames * narrow, at).reshape(-1, narrow)
        at += ulaw.nbytes + -ulaw.nbytes % _ALIGN
        alaw = np.frombuffer(memory, np.uint8, self.frames * narrow, at).reshape(-1, narrow)
        return pcm, ulaw, alaw


class Space:
    """Which frames are free: first fit, neighbours joined. Pure."""

    def __init__(self, frames: int) -> None:
        self._free = [(0, frames)]

    def take(self, frames: int) -> int:
        """The first of so many frames in a row. Raises MemoryError if there are not so many."""
        for i, (first, count) in enumerate(self._free):
            if count >= frames:
                rest = (first + frames, count - frames)
                self._free[i : i + 1] = [rest] if rest[1] else []
                return first
        raise MemoryError(f"no room for {frames / FRAMES:.1f} s of sound")

    def give(self, first: int, frames: int) -> None:
        """Frames that were taken are free again."""
        joined: list[tuple[int, int]] = []
        for start, count in sorted([*self._free, (first, frames)]):
            if joined and sum(joined[-1]) == start:
                joined[-1] = (joined[-1][0], joined[-1][1] + count)
            else:
                joined.append((start, count))
        self._free = joined

    @property
    def free(self) -> int:
        """Frames that are free, in a row or not."""
        return sum(count for _, count in self._free)


class Arena:
    """The service's side: puts sound in and takes it out."""

    def __init__(self, memory: mmap.mmap, layout: Layout) -> None:
        self._pcm, self._ulaw, self._alaw = layout.arrays(memory)
        self._space = Space(layout.frames)
        self._rate = layout.rate

    def put(self, samples: NDArray[np.int16], narrow: NDArray[np.int16]) -> tuple[int, int]:
        """First frame and frames of a sound at the arena's rate, and at 8 kHz; the last frame is
        filled up with silence. Raises MemoryError."""
        width = self._rate // FRAMES
        frames = max(1, -(-len(samples) // width))
        first = self._space.take(frames)
        _fill(self._pcm[first : first + frames], samples)
        padded = np.zeros((frames, NARROW // FRAMES), np.int16)
        _fill(padded, narrow)
        self._ulaw[first : first + frames] = g711.encode(padded, "PCMU")
        self._alaw[first : first + frames] = g711.encode(padded, "PCMA")
        return first, frames

    def remove(self, first: int, frames: int) -> None:
        """The frames may be used for something else."""
        self._space.give(first, frames)


def _fill(rows: NDArray[np.int16], samples: NDArray[np.int16]) -> None:
    flat = rows.reshape(-1)
    count = min(len(flat), len(samples))
    flat[:count] = samples[:count]
    flat[count:] = 0

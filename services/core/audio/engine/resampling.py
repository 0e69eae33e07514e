"""Twice or half the rate, many streams at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
TAPS = 63
"""Of a half-band filter: every second one but the middle is zero."""


def half_band() -> NDArray[np.float32]:
    """Low-pass at a quarter of the higher rate, of unit gain."""
    n = np.arange(TAPS) - TAPS // 2
    shape = np.sinc(n / 2) * np.kaiser(TAPS, 6.0)
    return (shape / shape.sum()).astype(np.float32)


class _Filter:
    """A matrix that takes a frame, with what came before it, to a frame of the other rate."""

    def __init__(self, capacity: int, before: int, matrix: NDArray[np.float32]) -> None:
        self._past = np.zeros((capacity, before), np.float32)
        self._matrix = matrix

    def forget(self, row: int) -> None:
        """A new stream."""
        self._past[row] = 0

    def __call__(self, rows: NDArray[np.intp], sound: Samples) -> Samples:
        """The next frame of each row."""
        joined = np.concatenate([self._past[rows], sound.astype(np.float32)], axis=1)
        self._past[rows] = joined[:, sound.shape[1] :]
        made = joined @ self._matrix
        return np.clip(np.rint(made), -32768, 32767).astype(np.int16)


class Doubler(_Filter):
    """From 8 to 16 kHz, a frame of 160 samples to one of 320."""

    def __init__(self, capacity: int) -> None:
        taps, width = half_band() * 2, 160
        before = TAPS // 2 + 1
        matrix = np.zeros((before + width, 2 * width), np.float32)
        for out in range(2 * width):
            # Output k is at input position k/2, delayed by half the filter.
            for tap in range(TAPS):
                at = out - tap
                if at % 2 == 0 and 0 <= at // 2 + before < before + width:
                    matrix[at // 2 + before, out] += taps[tap]
        super().__init__(capacity, before, matrix)


class Halver(_Filter):
    """From 16 to 8 kHz, a frame of 320 samples to one of 160."""

    def __init__(self, capacity: int) -> None:
        taps, width = half_band(), 160
        before = TAPS
        matrix = np.zeros((before + 2 * width, width), np.float32)
        for out in range(width):
            for tap in range(TAPS):
                at = 2 * out - tap
                matrix[at + before, out] += taps[tap]
        super().__init__(capacity, before, matrix)

"""How loud legs are, and whether somebody speaks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SILENCE = -127.0
"""dBov, the least (RFC 6464 section 3)."""
ABOVE = 9.0
"""dB above the noise that are speech."""
QUIET = -50.0
"""dBov below which nothing is speech."""
ONSET = 2
"""Frames in a row that begin speech."""
HANGOVER = 25
"""Frames without speech that end it."""
RISE = 0.03
"""dB a frame by which the noise is taken to have risen."""


def levels(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """dBov of each row: the power of its samples, compared with that of a full-scale square."""
    power = np.einsum("ij,ij->i", sound, sound) / sound.shape[1] / 32768.0**2
    return np.maximum(10 * np.log10(power + 1e-13), SILENCE).astype(np.float32)


class Speech:
    """Voice activity by energy over a noise floor that follows each leg."""

    def __init__(self, capacity: int) -> None:
        self._floor = np.full(capacity, -60.0, np.float32)
        self._active = np.zeros(capacity, np.int32)
        self._still = np.zeros(capacity, np.int32)
        self.speaking = np.zeros(capacity, bool)

    def forget(self, row: int) -> None:
        """A new leg."""
        self._floor[row] = -60.0
        self._active[row] = self._still[row] = 0
        self.speaking[row] = False

    def feed(self, rows: NDArray[np.intp], level: NDArray[np.float32]) -> NDArray[np.intp]:
        """The next frame of ``rows``; those that have begun or ended to speak."""
        floor = self._floor[rows]
        heard = np.maximum(level, np.float32(-90))
        floor = np.where(heard < floor, floor + 0.3 * (heard - floor), floor + RISE)
        self._floor[rows] = np.minimum(floor, -30)
        voiced = (level > floor + ABOVE) & (level > QUIET)
        self._active[rows] = np.where(voiced, self._active[rows] + 1, 0)
        self._still[rows] = np.where(voiced, 0, self._still[rows] + 1)
        speaking = self.speaking[rows]
        now = np.where(speaking, self._still[rows] < HANGOVER, self._active[rows] >= ONSET)
        self.speaking[rows] = now
        return rows[now != speaking]

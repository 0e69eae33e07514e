"""Keys that are heard as tones (ITU-T Q.23, Q.24), over all legs at once.

Goertzel's frequencies as one matrix product. A frame is a key's if nearly all its power is in
one tone of each group; a key is pressed if a frame is surely its own and one beside it partly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOW = (697.0, 770.0, 852.0, 941.0)
HIGH = (1209.0, 1336.0, 1477.0, 1633.0)
KEYS = "123A456B789C*0#D"
BESIDE = 0.0075
"""Each tone is looked for a bit below and a bit above, for it may be off by 1.5 %."""
SURE = 0.65
"""Part of a frame's power."""
PARTLY = 0.2
TWIST = 8.0
"""By how much the power of one tone may be that of the other (9 dB)."""
LEAST = -42.0
"""dBov of the quietest key."""
NONE = -1


class Detector:
    """Keys by row. ``rate``: of the sound."""

    def __init__(self, capacity: int, rate: int) -> None:
        size = rate // 50
        tones = np.array(LOW + HIGH)
        tones = np.concatenate([tones * (1 - BESIDE), tones * (1 + BESIDE)])
        turns = 2 * np.pi * np.outer(np.arange(size) / rate, tones)
        self._waves = np.concatenate([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)
        self._scale = 2.0 / size
        self._before = np.full(capacity, NONE, np.int8)
        self._sure = np.zeros(capacity, bool)
        self._pressed = np.full(capacity, NONE, np.int8)
        self._away = np.zeros(capacity, np.int8)

    def forget(self, row: int) -> None:
        """A new leg."""
        self._before[row] = self._pressed[row] = NONE
        self._sure[row] = False

    def feed(self, rows: NDArray[np.intp], sound: NDArray[np.float32]) -> list[tuple[int, str]]:
        """The next frame of ``rows``; the keys that were pressed, with their row."""
        found, purity = self._classify(sound)
        sure = (found != NONE) & (purity >= SURE)
        before, was_sure = self._before[rows], self._sure[rows]
        pressed = self._pressed[rows]
        begun = (found != NONE) & (found == before) & (sure | was_sure) & (pressed != found)
        # A key is let go after two frames without it; its tone may break off for one.
        away = np.where(found == pressed, 0, self._away[rows] + 1).astype(np.int8)
        pressed = np.where(begun, found, np.where(away >= 2, NONE, pressed))
        self._before[rows], self._sure[rows] = found, sure
        self._pressed[rows] = pressed
        self._away[rows] = np.where(begun, 0, np.minimum(away, 100))
        return [(int(rows[i]), KEYS[int(found[i])]) for i in np.nonzero(begun)[0]]

    def _classify(self, sound: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """The key of each frame that has one, and what part of the power is its."""
        product = sound @ self._waves
        power = product[:, :16] ** 2 + product[:, 16:] ** 2
        power = np.maximum(power[:, :8], power[:, 8:])
        low, high = power[:, :4], power[:, 4:]
        row, column = low.argmax(axis=1), high.argmax(axis=1)
        at = np.arange(len(sound))
        best_low, best_high = low[at, row], high[at, column]
        energy = np.einsum("ij,ij->i", sound, sound) + np.float32(1)
        purity = (best_low + best_high) * np.float32(self._scale) / energy
        loud = energy > 32768.0**2 * sound.shape[1] * 10 ** (LEAST / 10)
        balanced = (best_low < TWIST * best_high) & (best_high < TWIST * best_low)
        key = np.where(loud & balanced & (purity >= PARTLY), row * 4 + column, NONE)
        return key.astype(np.int8), purity

"""Lost frames are filled with what was heard before: pitch repetition, as in G.711 appendix I.

The last pitch period goes on, louder for 10 ms than after; nothing is heard after 60 ms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
PAST = 3
"""Frames that are remembered."""
FADE = (1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
"""Gain every 10 ms."""
JOIN = 0.004
"""Seconds of fading between what was made up and what came."""


class Concealment:
    """``width``: samples of a frame at ``rate``."""

    def __init__(self, capacity: int, rate: int) -> None:
        self._width = rate // 50
        self._rate = rate
        self._past = np.zeros((PAST, capacity, self._width), np.int16)
        self._newest = 0
        self._run = np.zeros(capacity, np.int64)
        self._pitch = np.full(capacity, rate // 100, np.int64)
        points = np.arange(len(FADE)) * (self._width // 2)
        gain = np.interp(np.arange(int(points[-1])), points, np.array(FADE))
        self._gain = np.asarray(gain, np.float64).reshape(-1, self._width)
        join = round(JOIN * rate)
        self._join: NDArray[np.float64] = np.arange(join) / join

    def forget(self, row: int) -> None:
        """A new leg: there is nothing to go on with."""
        self._past[:, row] = 0
        self._run[row] = 0

    def apply(self, rows: NDArray[np.intp], sound: Samples, there: NDArray[np.bool_]) -> int:
        """Fill, in place, the frames of ``sound`` that are not there; how many were made up."""
        run = self._run[rows]
        back = np.nonzero(there & (run > 0))[0]
        if len(back):
            self._return(rows[back], sound, back)
        sound[~there & (run >= len(self._gain))] = 0  # long gone: that is silence, and cheap
        lost = np.nonzero(~there & (run < len(self._gain)))[0]
        whole = sound
        if len(lost):
            whole = sound.copy()
            self._fill(rows[lost], sound, whole, lost)
        self._newest = (self._newest + 1) % PAST
        self._past[self._newest, rows] = whole
        return len(lost)

    def _history(self, rows: NDArray[np.intp]) -> Samples:
        order = [(self._newest + 1 + i) % PAST for i in range(PAST)]
        return np.concatenate([self._past[i, rows] for i in order], axis=1)

    def _fill(
        self, rows: NDArray[np.intp], sound: Samples, whole: Samples, at: NDArray[np.intp]
    ) -> None:
        run = self._run[rows]
        history = self._history(rows)
        first = run == 0
        if first.any():
            self._pitch[rows[first]] = pitch(history[first], self._rate)
        going_on = self._continued(history, self._pitch[rows])
        whole[at] = going_on
        sound[at] = (going_on * self._gain[run]).astype(np.int16)
        self._run[rows] = run + 1

    def _return(self, rows: NDArray[np.intp], sound: Samples, at: NDArray[np.intp]) -> None:
        """The first frame that came again: from what was made up into it."""
        run = self._run[rows]
        gone = run >= len(self._gain)
        gain = np.where(gone, 0.0, self._gain[np.minimum(run, len(self._gain) - 1), 0])
        before = self._continued(self._history(rows), self._pitch[rows])[:, : len(self._join)]
        after = sound[at, : len(self._join)]
        mixed = before * gain[:, None] * (1 - self._join) + after * self._join
        sound[at, : len(self._join)] = mixed.astype(np.int16)
        self._run[rows] = 0

    def _continued(self, history: Samples, period: NDArray[np.int64]) -> Samples:
        """The last period of each row, over and over."""
        phase = np.arange(self._width) % period[:, None]
        return np.take_along_axis(history, history.shape[1] - period[:, None] + phase, axis=1)


def pitch(history: Samples, rate: int) -> NDArray[np.int64]:
    """Samples of the pitch period of each row, 5 to 15 ms, by correlation at 4 kHz."""
    factor = rate // 4000
    x = history[:, ::factor].astype(np.float32)
    size, least, most = 80, 20, 60
    template = x[:, -size:]
    windows = np.lib.stride_tricks.sliding_window_view(x[:, -size - most : -least], size, axis=1)
    alike = np.einsum("rls,rs->rl", windows, template)
    power = np.einsum("rls,rls->rl", windows, windows)
    best = np.argmax(alike / np.sqrt(power + 1), axis=1)
    return (most - best) * factor

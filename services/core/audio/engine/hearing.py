"""What legs say, as frames of sound at the plane's rate, for everybody who listens."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from services.core.audio import g711
from services.core.audio.engine.buffers import Buffers
from services.core.audio.engine.concealment import Concealment
from services.core.audio.engine.dtmf import Detector
from services.core.audio.engine.legs import L16, L16_WIDE, PCMA, PCMU, Legs
from services.core.audio.engine.loudness import SILENCE, Speech, levels
from services.core.audio.engine.receiver import HEADER, Packets
from services.core.audio.engine.resampling import Doubler, Halver

NARROW, WIDE = 160, 320
_LAWS = {PCMU: g711.ULAW, PCMA: g711.ALAW}
QUIET = -45
"""dBov below which a frame may be left out unnoticed."""
_ROOT = np.sqrt(3)
"""Peak of even noise over its root mean square."""


class Hearing:
    """``rows`` are the legs that are listened to, ``sound`` their frames of this beat."""

    def __init__(self, legs: Legs, rate: int) -> None:
        n = legs.capacity
        self._legs = legs
        self._rate = rate
        self._width = rate // 50
        self._buffers = Buffers(n)
        self._concealment = Concealment(n, rate)
        self.speech = Speech(n)
        self._detector = Detector(n, rate)
        self._up, self._down = Doubler(n), Halver(n)
        self._noise = np.random.default_rng().uniform(-1, 1, (64, self._width)).astype(np.float32)
        self._comfort = np.full(n, SILENCE, np.float32)
        self.rows: NDArray[np.intp] = np.zeros(0, np.intp)
        self.sound = np.zeros((1, self._width), np.int16)
        self.level = np.full(1, SILENCE, np.float32)
        self.index = np.zeros(n, np.intp)
        """Where each leg is in `sound`: the last row, a silent one, where nobody listens."""
        self._narrow: NDArray[np.intp] = np.zeros(0, np.intp)
        self._wide: NDArray[np.intp] = np.zeros(0, np.intp)
        self._keyed: NDArray[np.intp] = np.zeros(0, np.intp)

    def forget(self, row: int) -> None:
        """A new leg."""
        self._buffers.forget(row)
        self._buffers.late[row] = 0
        self._up.forget(row)
        self._down.forget(row)
        self._concealment.forget(row)
        self.speech.forget(row)
        self._detector.forget(row)
        self._comfort[row] = SILENCE

    def refresh(self) -> None:
        """Rows have changed."""
        legs = self._legs
        self.rows = np.nonzero(legs.listened)[0]
        self.index[:] = len(self.rows)
        self.index[self.rows] = np.arange(len(self.rows))
        self.sound = np.zeros((len(self.rows) + 1, self._width), np.int16)
        self.level = np.full(len(self.rows) + 1, SILENCE, np.float32)
        wide = legs.codec[self.rows] == L16_WIDE
        self._narrow, self._wide = np.nonzero(~wide)[0], np.nonzero(wide)[0]
        self._keyed = np.nonzero(legs.in_band[self.rows])[0]
        if len(self._wide):
            self._buffers.widen(WIDE)

    def put(self, beat: int, packets: Packets) -> None:
        """Packets have come."""
        legs = self._legs
        for row in legs.begun:
            self._buffers.forget(row)
        legs.begun.clear()
        codecs = legs.codec[packets.rows]
        kinds = codecs.astype(np.int64) << 16 | packets.lengths
        for kind in _distinct(kinds):
            some = np.nonzero(kinds == kind)[0]
            codec, length = int(kind >> 16), int(kind & 0xFFFF)
            if length < 2:
                continue
            if codec >= L16:
                length -= length % 2
            payload = packets.data[packets.chosen[some], HEADER : HEADER + length]
            if codec >= L16:
                sound = payload.view(">i2").astype(np.int16)
            else:
                sound = np.take(_LAWS[codec], payload)
            frame = WIDE if codec == L16_WIDE else NARROW
            rows, stamps = packets.rows[some], packets.timestamps[some]
            self._buffers.put(beat, rows, stamps, sound, frame)
            self._comfort[rows] = SILENCE

    def comfort(self, row: int, level: float) -> None:
        """The other side sends no sound now, but noise is to be heard (RFC 3389)."""
        self._comfort[row] = level

    def step(self, beat: int) -> None:
        """Take this beat's frame of every leg that is listened to."""
        rows, legs = self.rows, self._legs
        if not len(rows):
            return
        board = legs.board
        sound = np.zeros((len(rows), self._width), np.int16)
        there = np.zeros(len(rows), bool)
        if len(self._wide) == 0 and self._width == NARROW:
            sound, there = self._buffers.take(beat, rows, NARROW)
        else:
            self._take_each(beat, sound, there)
        silent = ~there & (self._comfort[rows] > SILENCE)
        if silent.any():
            self._fill_noise(np.nonzero(silent)[0], sound)
            there |= silent
        board.concealed[rows[~there]] += 1
        self._concealment.apply(rows, sound, there)
        exact = sound.astype(np.float32)
        level = levels(exact)
        self.sound[:-1], self.level[:-1] = sound, level
        board.level[rows] = level
        turned = self.speech.feed(rows, level)
        board.speaking[rows] = self.speech.speaking[rows]
        for row in turned[legs.watched[turned]]:
            legs.speech(int(row), bool(self.speech.speaking[row]), time.monotonic())
        if len(self._keyed):
            for row, key in self._detector.feed(rows[self._keyed], exact[self._keyed]):
                legs.tone(row, key, time.monotonic())
        self._buffers.adapt(beat, board.level[: legs.capacity] < QUIET)

    def _take_each(self, beat: int, sound: NDArray[np.int16], there: NDArray[np.bool_]) -> None:
        for at, frame in ((self._narrow, NARROW), (self._wide, WIDE)):
            if len(at):
                taken, there[at] = self._buffers.take(beat, self.rows[at], frame)
                taken = np.where(there[at, None], taken, 0)
                if frame < self._width:
                    taken = self._up(self.rows[at], taken)
                elif frame > self._width:
                    taken = self._down(self.rows[at], taken)
                sound[at] = taken

    def _fill_noise(self, at: NDArray[np.intp], sound: NDArray[np.int16]) -> None:
        amplitude = 32768 * 10 ** (self._comfort[self.rows[at]] / 20) * _ROOT
        noise = self._noise[np.random.default_rng().integers(0, len(self._noise), len(at))]
        sound[at] = (noise * amplitude[:, None]).astype(np.int16)

    def show(self) -> None:
        """Bring the figures to the board."""
        board, rows = self._legs.board, self.rows
        board.late[rows] = self._buffers.late[rows]
        board.delay[rows] = self._buffers.held(rows) * 0.02
        board.dropped[3] = self._buffers.duplicates


def _distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The values that there are; mostly it is one."""
    return values[:1] if (values == values[0]).all() else np.unique(values)

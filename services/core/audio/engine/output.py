"""What each leg hears in this beat, as a payload somewhere in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.core.audio import g711
from services.core.audio.batch import pointers
from services.core.audio.engine.hearing import NARROW, Hearing
from services.core.audio.engine.legs import L16, PCMA, PCMU, RATES, WIDTHS, Legs
from services.core.audio.engine.players import Players
from services.core.audio.engine.resampling import Doubler, Halver
from services.core.audio.engine.rooms import Rooms
from services.core.audio.engine.sender import Sender

Rows = NDArray[np.intp]
_CODES = {PCMU: g711.ULAW_CODES, PCMA: g711.ALAW_CODES}
NOISES = 16
"""Frames of comfort noise of each level, played in turn."""
_NONE: Rows = np.zeros(0, np.intp)


class Output:
    """Clips alone are sent from where they lie, encoded long ago; a room's sum is encoded once for
    all who only listen; what is left is made for each leg."""

    def __init__(
        self,
        legs: Legs,
        players: Players,
        sender: Sender,
        rooms: Rooms,
        hearing: Hearing,
        rate: int,
    ) -> None:
        self._legs = legs
        self._players = players
        self._sender = sender
        self._rooms = rooms
        self._hearing = hearing
        self._rate = rate
        self._made = np.zeros((legs.capacity, int(WIDTHS.max())), np.uint8)
        self._pointers = pointers(self._made)
        self._shared = np.zeros((2, len(rooms.totals), NARROW), np.uint8)
        self._shared_pointers = np.stack([pointers(codes) for codes in self._shared])
        self._up, self._down = Doubler(legs.capacity), Halver(legs.capacity)
        self._noises: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self._plain = self._alone = self._together = self._noisy = _NONE
        self._base = np.zeros(0, np.uint64)
        self._noise_base = np.zeros((NOISES, 0), np.uint64)

    def forget(self, row: int) -> None:
        """A new leg."""
        self._up.forget(row)
        self._down.forget(row)

    def refresh(self) -> None:
        """Rows have changed: who hears nothing hears silence, or noise if that is wished."""
        legs, players, rooms = self._legs, self._players, self._rooms
        rows = np.nonzero(legs.sending)[0]
        self._sender.payloads[rows] = self._sender.silence[legs.codec[rows]]
        together = (rooms.room[rows] >= 0) & ~rooms.deaf[rows]
        self._together = rows[together]
        now = players.legs_now()
        now = now[(rooms.room[now] < 0) | rooms.deaf[now]]
        plain = (legs.codec[now] <= PCMA) & (players.gain[now] == 1)
        self._plain, self._alone = now[plain], now[~plain]
        self._base = players.codes[legs.codec[self._plain]]
        idle = rows[~together & ~players.playing[rows] & (legs.comfort[rows] < 0)]
        self._noisy = idle
        self._noise_base = (
            np.stack([self._noise(int(row)) for row in idle], axis=1)
            if len(idle)
            else np.zeros((NOISES, 0), np.uint64)
        )

    def step(self, beat: int) -> None:
        """Point every payload to this beat's sound."""
        players = self._players
        if len(self._noisy):
            turn = (beat * 7 + self._noisy) % NOISES
            self._sender.payloads[self._noisy] = self._noise_base[turn, np.arange(len(turn))]
        if len(self._plain):
            offsets = players.at[self._plain].astype(np.uint64) * np.uint64(NARROW)
            self._sender.payloads[self._plain] = self._base + offsets
        if len(self._alone):
            rows = self._alone
            self._put(rows, players.frames(rows))
        if len(self._together):
            self._mixed()
        players.advance()

    def _mixed(self) -> None:
        """Legs in rooms: those who are heard there, or are played something, have their own mix."""
        legs, rooms, players, rows = self._legs, self._rooms, self._players, self._together
        codecs = legs.codec[rows]
        own = rooms.voiced[rows] | players.playing[rows]
        own |= (RATES[codecs] != self._rate) | (codecs >= L16)
        single = rows[own]
        if len(single):
            mix = np.take(rooms.totals, rooms.room[single], axis=0)
            hearing = self._hearing
            silent = len(hearing.sound) - 1
            heard = np.where(rooms.voiced[single], hearing.index[single], silent)
            mix -= np.take(hearing.sound, heard, axis=0)
            played = np.nonzero(players.playing[single])[0]
            if len(played):
                mix[played] += players.frames(single[played]).astype(np.int32)
            self._put(single, mix)
        shared = rows[~own]
        for law in np.unique(legs.codec[shared]):
            listeners = shared[legs.codec[shared] == law]
            used, place = np.unique(rooms.room[listeners], return_inverse=True)
            samples = np.clip(rooms.totals[used], -32768, 32767).astype(np.int16)
            self._shared[law, used] = np.take(
                _CODES[int(law)], samples.view(np.uint16), mode="clip"
            )
            self._sender.payloads[listeners] = self._shared_pointers[law, used][place]

    def _put(self, rows: Rows, sound: NDArray[np.int32] | NDArray[np.float32]) -> None:
        """Encode ``sound``, a row each at the plane's rate, for ``rows``."""
        samples = np.clip(sound, -32768, 32767, out=sound).astype(np.int16)
        codecs = self._legs.codec[rows]
        for codec in np.unique(codecs):
            some = np.nonzero(codecs == codec)[0]
            part = samples if len(some) == len(rows) else samples[some]
            rate = int(RATES[codec])
            if rate > self._rate:
                part = self._up(rows[some], part)
            elif rate < self._rate:
                part = self._down(rows[some], part)
            if codec in _CODES:
                payload = np.take(_CODES[int(codec)], part.view(np.uint16))
            else:
                payload = part.astype(">i2").view(np.uint8)
            self._made[rows[some], : payload.shape[1]] = payload
        self._sender.payloads[rows] = self._pointers[rows]

    def _noise(self, row: int) -> NDArray[np.uint64]:
        """Addresses of a leg's frames of comfort noise."""
        codec = int(self._legs.codec[row])
        level = round(float(self._legs.comfort[row]))
        made = self._noises.get((codec, level))
        if made is None:
            random = np.random.default_rng(level & 0xFF)
            amplitude = 32768 * 10 ** (level / 20) * np.sqrt(3)
            width = int(RATES[codec]) // 50
            samples = (random.uniform(-1, 1, (NOISES, width)) * amplitude).astype(np.int16)
            if codec in _CODES:
                made = _CODES[codec][samples.view(np.uint16)]
            else:
                made = samples.astype(">i2").view(np.uint8)
            self._noises[codec, level] = made
        return pointers(made)

"""Plays clips: each leg, and each room, has a place in the arena, which moves on with a beat."""

from __future__ import annotations

import mmap

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.core.audio import wire
from services.core.audio.arena import Layout
from services.core.audio.batch import pointers
from services.core.audio.engine.legs import Legs


class _Playing(msgspec.Struct):
    playback: int
    segments: list[tuple[int, int]]
    loop: bool
    index: int = 0


class Players:
    """What is played. Rows are the legs, and after them the rooms."""

    def __init__(self, legs: Legs, rooms: int, arena: mmap.mmap, layout: Layout) -> None:
        n = legs.capacity + rooms
        self._legs = legs
        self._pcm, ulaw, alaw = layout.arrays(arena)
        self.codes = np.array((pointers(ulaw[:1])[0], pointers(alaw[:1])[0]), np.uint64)
        """Where the codes of the arena's first frame are, by law."""
        self._width = layout.rate // 50
        self._playing: dict[int, _Playing] = {}
        self.at = np.zeros(n, np.int64)
        """The frame of the arena that each row is at."""
        self._end = np.zeros(n, np.int64)
        self._first = np.full(n, -1, np.int64)
        """Where a clip that is played over and over begins; -1 where that is not so simple."""
        self.gain = np.ones(n, np.float32)
        self._begun = np.zeros(n, bool)
        self.playing = np.zeros(n, bool)
        """Rows that have a frame to play: what is begun, and not held."""
        self.changed = True
        self._now: NDArray[np.intp] = np.zeros(0, np.intp)

    def play(self, command: wire.Play) -> None:
        """Begin; what the row played before is interrupted."""
        row = command.row
        self.close(row)
        position, index = command.position, 0
        while index < len(command.segments) and position >= command.segments[index][1]:
            position -= command.segments[index][1]
            index += 1
        board = self._legs.board
        board.position[row] = command.position * self._width
        board.playback[row] = command.playback
        self._playing[row] = _Playing(command.playback, command.segments, command.loop, index)
        self.gain[row] = command.gain
        self._begun[row] = True
        self.changed = True
        if index == len(command.segments):
            self._over(row, whole=True)
            return
        first, frames = command.segments[index]
        self.at[row], self._end[row] = first + position, first + frames
        simple = command.loop and len(command.segments) == 1
        self._first[row] = first if simple else -1

    def stop(self, row: int, playback: int) -> None:
        """Play no more, if it is still this."""
        playing = self._playing.get(row)
        if playing is not None and playing.playback == playback:
            self._over(row, whole=False)

    def close(self, row: int) -> None:
        """Play no more, whatever it is."""
        if row in self._playing:
            self._over(row, whole=False)

    def refresh(self) -> None:
        """The rows that play have changed, or whether they send."""
        legs = self._legs
        self.changed = False
        self.playing[:] = self._begun
        self.playing[: legs.capacity] &= legs.sending
        self._now = np.nonzero(self.playing)[0]

    def legs_now(self) -> NDArray[np.intp]:
        """The legs that have a frame to play in this beat."""
        return self._now[self._now < self._legs.capacity]

    def rooms_now(self) -> NDArray[np.intp]:
        """The rooms that have a frame to play in this beat, counted from 0."""
        return self._now[self._now >= self._legs.capacity] - self._legs.capacity

    def frames(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """The frame of this beat of rows that play, at the plane's rate."""
        return self._pcm[self.at[rows]] * self.gain[rows, None]

    def room_frames(self, rooms: NDArray[np.intp]) -> NDArray[np.float32]:
        """The frame of this beat of rooms that play."""
        return self.frames(rooms + self._legs.capacity)

    def advance(self) -> None:
        """The frame of this beat has been taken."""
        rows = self._now
        if not len(rows):
            return
        self.at[rows] += 1
        self._legs.board.position[rows] += self._width
        ended = rows[self.at[rows] >= self._end[rows]]
        if not len(ended):
            return
        first = self._first[ended]
        self.at[ended] = np.where(first >= 0, first, self.at[ended])
        for row in ended[first < 0]:
            self._next(int(row))

    def _next(self, row: int) -> None:
        playing = self._playing[row]
        playing.index += 1
        if playing.index == len(playing.segments):
            if not playing.loop:
                self._over(row, whole=True)
                return
            playing.index = 0
        first, frames = playing.segments[playing.index]
        self.at[row], self._end[row] = first, first + frames

    def _over(self, row: int, *, whole: bool) -> None:
        playing = self._playing.pop(row)
        legs = self._legs
        self._begun[row] = False
        self.changed = True
        position = int(legs.board.position[row])
        generation = int(legs.board.generation[row])
        legs.notices.append(wire.Played(row, generation, playing.playback, position, whole))

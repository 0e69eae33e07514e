"""Rooms: everybody hears the sum of the others; in large ones, of those who are loudest."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

HOLD = 6.0
"""dB that somebody who is heard may be softer than somebody who is not, and still be heard."""
DECAY = 0.6
"""dB a frame by which a voice is taken to fade: pauses between words do not change who is heard."""
FAINT = -55.0
"""dBov below which nobody is chosen."""
WIDTHS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 4096, 32768)
"""Rooms are summed together with others of like size, filled up with silence."""


class _Room(msgspec.Struct):
    speakers: int
    members: set[int]


class _Group(NamedTuple):
    """Rooms that are summed in one step: ``voices[i]`` are the legs whose sum ``rooms[i]`` is."""

    rooms: NDArray[np.intp]
    voices: NDArray[np.intp]


class _Choice(NamedTuple):
    """Members of rooms that have a choice to make, in the order of ``rooms``."""

    rooms: NDArray[np.intp]
    most: NDArray[np.intp]
    place: NDArray[np.intp]
    """Of which of ``rooms`` each member is."""
    members: NDArray[np.intp]
    first: NDArray[np.intp]
    """Where each of the rooms begins in ``members``."""


class Rooms:
    """Who is with whom. Rows are legs; ``at`` gives a leg's place in the sound of a beat."""

    def __init__(self, capacity: int, rooms: int, width: int) -> None:
        self._capacity = capacity
        self._width = width
        self._rooms: dict[int, _Room] = {}
        self.room = np.full(capacity, -1, np.int64)
        self.muted = np.zeros(capacity, bool)
        self.deaf = np.zeros(capacity, bool)
        self.totals = np.zeros((rooms, width), np.int32)
        """The sum of each room's voices in this beat."""
        self.voiced = np.zeros(capacity, bool)
        """Whose voice is in the sum of their room in this beat."""
        self._strength = np.full(capacity, -127.0, np.float32)
        self._groups: list[_Group] = []
        self._choice: _Choice | None = None
        self._open: NDArray[np.intp] = np.zeros(0, np.intp)
        self.changed = True

    def open(self, room: int, speakers: int) -> None:
        """A room begins; ``speakers`` of the loudest are heard, 0 for all."""
        self._rooms[room] = _Room(speakers, set())
        self.changed = True
        self.totals[room] = 0

    def close(self, room: int) -> None:
        """Everybody is alone again."""
        self.changed = True
        for row in self._rooms.pop(room, _Room(0, set())).members:
            self.room[row] = -1

    def join(self, room: int, row: int) -> None:
        """A leg is in this room and in no other."""
        self.leave(row)
        if room in self._rooms:
            self._rooms[room].members.add(row)
            self.room[row] = room
            self.changed = True
            self._strength[row] = -127.0

    def leave(self, row: int) -> None:
        """A leg is alone."""
        room = self._rooms.get(int(self.room[row]))
        if room is not None:
            room.members.discard(row)
            self.changed = True
        self.room[row] = -1

    def refresh(self, listened: NDArray[np.bool_]) -> None:
        """Who is where, or who may speak, has changed."""
        self.changed = False
        sizes: dict[int, list[tuple[int, list[int]]]] = {}
        choosing: list[tuple[int, int, list[int]]] = []
        self.voiced[:] = False
        for number, room in self._rooms.items():
            voices = sorted(r for r in room.members if not self.muted[r] and listened[r])
            if room.speakers and len(voices) > room.speakers:
                choosing.append((number, room.speakers, voices))
                continue
            self.voiced[voices] = True
            size = next(width for width in WIDTHS if width >= len(voices))
            sizes.setdefault(size, []).append((number, voices))
        self._groups = [_group(size, rooms) for size, rooms in sizes.items()]
        self._choice = _choice(choosing)
        self._open = np.fromiter(self._rooms, np.intp, len(self._rooms))

    def step(
        self, sound: NDArray[np.int16], at: NDArray[np.intp], level: NDArray[np.float32]
    ) -> None:
        """Sum this beat's sound. ``sound`` has a silent row at its end; ``at`` of a row that is
        not listened to is that one."""
        if not len(self._open):
            return
        groups = self._groups
        if self._choice is not None:
            groups = [*groups, self._choose(self._choice, at, level)]
        for rooms, voices in groups:
            places = np.where(voices < 0, len(sound) - 1, at[voices])
            self.totals[rooms] = np.add.reduce(sound[places], axis=1, dtype=np.int32)

    def _choose(self, choice: _Choice, at: NDArray[np.intp], level: NDArray[np.float32]) -> _Group:
        members = choice.members
        strength = np.maximum(level[at[members]], self._strength[members] - np.float32(DECAY))
        self._strength[members] = strength
        weight = strength + np.where(self.voiced[members], np.float32(HOLD), np.float32(0))
        order = np.argsort(choice.place * 1000.0 - weight)
        rank = np.arange(len(order)) - choice.first[choice.place[order]]
        heard = (rank < choice.most[choice.place[order]]) & (strength[order] > FAINT)
        self.voiced[members] = False
        chosen = order[heard]
        self.voiced[members[chosen]] = True
        voices = np.full((len(choice.rooms), int(choice.most.max())), -1, np.intp)
        voices[choice.place[chosen], rank[heard]] = members[chosen]
        return _Group(choice.rooms, voices)


def _group(size: int, rooms: list[tuple[int, list[int]]]) -> _Group:
    voices = np.full((len(rooms), size), -1, np.intp)
    for i, (_, rows) in enumerate(rooms):
        voices[i, : len(rows)] = rows
    return _Group(np.array([number for number, _ in rooms], np.intp), voices)


def _choice(rooms: list[tuple[int, int, list[int]]]) -> _Choice | None:
    if not rooms:
        return None
    sizes = [len(voices) for _, _, voices in rooms]
    return _Choice(
        rooms=np.array([number for number, _, _ in rooms], np.intp),
        most=np.array([most for _, most, _ in rooms], np.intp),
        place=np.repeat(np.arange(len(rooms)), sizes),
        members=np.array([row for _, _, voices in rooms for row in voices], np.intp),
        first=np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.intp),
    )

"""A room: legs that hear each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.core.audio import wire
from services.core.audio.leg import Leg
from services.core.audio.source import Source

if TYPE_CHECKING:
    from services.core.audio.plane import AudioPlane


class Room(Source):
    """Made by `AudioPlane.room`; ends with its `with` block, or with `close`.

    What it is played, all of its legs hear; what is recorded of it is all that is heard in it.
    """

    def __init__(self, plane: AudioPlane, row: int, generation: int) -> None:
        super().__init__(plane, row, generation)
        self._legs: set[Leg] = set()

    @property
    def legs(self) -> frozenset[Leg]:
        """Who is in it."""
        return frozenset(self._legs)

    def add(self, leg: Leg) -> None:
        """The leg comes into this room, from any other. Raises ValueError if one has ended."""
        self._check_open()
        leg.enter(self)
        self._legs.add(leg)
        self._plane.command(wire.Join(leg.row, self.row))

    def remove(self, leg: Leg) -> None:
        """The leg goes; nothing if it is not here."""
        if leg in self._legs:
            self._legs.discard(leg)
            leg.enter(None)
            self._plane.command(wire.Join(leg.row, -1))

    def forget(self, leg: Leg) -> None:
        """The leg is gone already."""
        self._legs.discard(leg)

    def levels(self) -> list[tuple[Leg, float]]:
        """Each leg and how loud it was in the last frame, in dBov; the loudest first."""
        found = [(leg, leg.level) for leg in self._legs]
        return sorted(found, key=lambda entry: -entry[1])

    def close(self) -> None:
        """End it. Its legs stay, each alone."""
        if self._closed:
            return
        for leg in list(self._legs):
            self._legs.discard(leg)
            leg.enter(None)
        self._plane.command(wire.CloseRoom(self.row))
        self.end()
        self._plane.release_room(self)

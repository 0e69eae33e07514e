"""Sounds to be played: read from files, decoded once, shared by all legs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.core.audio.errors import ClipError

if TYPE_CHECKING:
    from services.core.audio.plane import AudioPlane


class Clip:
    """A sound in the plane's memory.

    ``samples``: how many, at the plane's rate. `close` gives the memory back when the last
    playback of it is over.
    """

    def __init__(
        self, plane: AudioPlane, first: int, frames: int, samples: int, rate: int, name: str
    ) -> None:
        self._plane = plane
        self.first = first
        self.frames = frames
        self.samples = samples
        self.rate = rate
        self.name = name
        self._users = 0
        self._closed = False

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.samples / self.rate

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def use(self) -> None:
        """A playback begins. Raises ClipError if the clip was closed."""
        if self._closed:
            raise ClipError(f"{self.name} was closed")
        self._users += 1

    def unuse(self) -> None:
        """A playback is over."""
        self._users -= 1
        if self._closed and not self._users:
            self._plane.remove_clip(self)

    def close(self) -> None:
        """It will not be played again; playbacks that run go on to their end."""
        if self._closed:
            return
        self._closed = True
        if not self._users:
            self._plane.remove_clip(self)

    def __repr__(self) -> str:
        return f"<Clip {self.name}, {self.seconds:.1f} s>"

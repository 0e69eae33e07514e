"""A sound that a leg or a room is being played, and keys that are being sent."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import msgspec
import trio

from services.core.audio.board import Board
from services.core.audio.clips import Clip


class Played(msgspec.Struct, frozen=True):
    """How a playback ended. ``position``: samples into the whole; ``whole``: not interrupted."""

    position: int
    whole: bool


class Playback:
    """``await playback`` gives `Played` when it is over, whatever ended it."""

    def __init__(
        self,
        board: Board,
        row: int,
        number: int,
        clips: Sequence[Clip],
        position: int,
        stop: Callable[[], None],
    ) -> None:
        self._board = board
        self._row = row
        self._number = number
        self._clips = clips
        self._begun_at = position
        self._stop = stop
        self._over = trio.Event()
        self._played: Played | None = None

    @property
    def position(self) -> int:
        """Samples that have been sent, from the start of the first clip on.

        It may be read at any time, and another plane of the same rate can go on from there
        (`Leg.play`). It moves by whole frames. Of a loop it counts all rounds.
        """
        if self._played is not None:
            return self._played.position
        if int(self._board.playback[self._row]) != self._number:
            return self._begun_at  # the plane has not begun yet
        return int(self._board.position[self._row])

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._played is not None

    def stop(self) -> None:
        """Interrupt it; nothing if it is over."""
        if self._played is None:
            self._stop()

    def end(self, played: Played) -> None:
        """The plane says that it is over."""
        if self._played is None:
            self._played = played
            for clip in self._clips:
                clip.unuse()
            self._over.set()

    def __await__(self) -> Generator[Any, Any, Played]:
        return self._wait().__await__()

    async def _wait(self) -> Played:
        await self._over.wait()
        assert self._played is not None  # noqa: S101 - `end` sets both
        return self._played


class KeysSending:
    """``await sending`` ends when all keys were sent, or the leg has ended."""

    def __init__(self) -> None:
        self._over = trio.Event()

    def end(self) -> None:
        """All were sent."""
        self._over.set()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._over.wait().__await__()

"""What legs and rooms have in common: they are played clips, and are recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from services.core.audio import wire
from services.core.audio.clips import Clip
from services.core.audio.playback import Playback, Played
from services.core.audio.recording import Recorded, Recording

if TYPE_CHECKING:
    from services.core.audio.plane import AudioPlane

FRAMES = 50
"""A second."""


class Source:
    """A row of the plane."""

    def __init__(self, plane: AudioPlane, row: int, generation: int) -> None:
        self._plane = plane
        self.row = row
        self.generation = generation
        self._playbacks: dict[int, Playback] = {}
        self._closed = False

    def play(
        self,
        clips: Clip | Sequence[Clip],
        *,
        position: int = 0,
        loop: bool = False,
        gain: float = 1.0,
    ) -> Playback:
        """Play ``clips`` one after the other, from ``position`` (samples of the whole) on.

        What was playing is interrupted. ``loop``: over and over, until it is stopped. ``gain`` is
        a factor of the amplitude. Each clip begins with a frame, so there are up to 20 ms of
        silence between two. Raises ValueError, ClipError.
        """
        self._check_open()
        chosen = (clips,) if isinstance(clips, Clip) else tuple(clips)
        frames = sum(clip.frames for clip in chosen)
        if not frames:
            raise ValueError("there is nothing to play")
        if position < 0 or not 0 <= gain <= 100:
            raise ValueError(f"position {position}, gain {gain}: expected 0 and more, 0 to 100")
        width = self._plane.rate // FRAMES
        start = position // width % frames if loop else min(position // width, frames)
        number = self._plane.next_number()
        for used, clip in enumerate(chosen):
            try:
                clip.use()
            except Exception:
                for before in chosen[:used]:
                    before.unuse()
                raise
        playback = Playback(
            self._plane.board,
            self.row,
            number,
            chosen,
            start * width,
            lambda: self._plane.command(wire.Stop(self.row, number)),
        )
        self._playbacks[number] = playback
        segments = [(clip.first, clip.frames) for clip in chosen]
        self._plane.command(wire.Play(self.row, number, segments, start, loop, gain))
        return playback

    def stop(self) -> None:
        """Interrupt what is playing."""
        for playback in self._playbacks.values():
            playback.stop()

    def record(
        self, path: Path | str, *, limit: float | None = None, silence: float | None = None
    ) -> Recording:
        """Record, in a WAV file of 16 bit at the plane's rate, what is said from now on.

        It ends after ``limit`` seconds, or after ``silence`` seconds in which nobody speaks; or if
        another recording is begun. While it grows the file is ``<path>.part``. Raises ValueError.
        """
        self._check_open()
        for name, value in (("limit", limit), ("silence", silence)):
            if value is not None and not 0 < value < 1e6:
                raise ValueError(f"{name} {value}: expected more than 0 seconds")
        target = Path(path)
        number = self._plane.next_number()
        recording = Recording(
            target, lambda: self._plane.command(wire.StopRecord(self.row, number))
        )
        self._plane.recordings[number] = recording
        frames = [
            0 if value is None else max(1, round(value * FRAMES)) for value in (limit, silence)
        ]
        self._plane.command(wire.Record(self.row, number, str(target.absolute()), *frames))
        return recording

    def played(self, number: int, played: Played) -> None:
        """The plane tells that a playback is over."""
        playback = self._playbacks.pop(number, None)
        if playback is not None:
            playback.end(played)

    def close(self) -> None:
        """The end; nothing if it was closed before."""
        raise NotImplementedError

    def end(self) -> None:
        """Nothing more comes of it."""
        self._closed = True
        for playback in list(self._playbacks.values()):
            playback.end(Played(playback.position, whole=False))
        self._playbacks.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"this {type(self).__name__.lower()} has ended")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def failed(recording: Recording, problem: str) -> None:
    """A recording of which nothing more will be told."""
    recording.end(Recorded(recording.path, recording.seconds, "failed", problem))

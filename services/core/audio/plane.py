"""The face of the plane: legs, clips, and the process that moves their sound."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType

import msgspec
import numpy as np
import trio
from numpy.typing import NDArray

from services.core.audio import sound, tones, wire
from services.core.audio.arena import FRAMES, NARROW, Layout
from services.core.audio.board import Board
from services.core.audio.clips import Clip
from services.core.audio.errors import CapacityError, ClipError
from services.core.audio.events import Digit, HeardAgain, Speech, Unheard
from services.core.audio.leg import Codec, Leg
from services.core.audio.metrics import Meter
from services.core.audio.playback import Played
from services.core.audio.process import EngineProcess
from services.core.audio.recording import Ended, Recorded, Recording
from services.core.audio.room import Room
from services.core.audio.sound import Samples
from services.core.audio.source import failed
from services.core.audio.tones import Tone


class AudioPlane(AbstractAsyncContextManager["AudioPlane"]):
    """Moves the sound of up to ``capacity`` legs, in a process of its own.

    ``address``: the local address that other sides send to. ``ports``: the first and the last
    port that may be used. ``rate``: of clips and of mixing, 8000 or 16000 Hz.
    ``clip_seconds``: how much sound may be held in clips.

    Entering raises AudioError if the process or its sockets cannot be had. If the process dies,
    the block is cancelled and AudioError comes out of it.
    """

    def __init__(
        self,
        address: str,
        *,
        ports: tuple[int, int],
        capacity: int = 4000,
        rate: int = 8000,
        clip_seconds: int = 14_400,
    ) -> None:
        if rate not in (8000, 16000):
            raise ValueError(f"rate {rate}: expected 8000 or 16000")
        if not 1 <= capacity <= 20_000:
            raise ValueError(f"capacity {capacity}: expected 1 to 20000")
        self.address = address
        self.capacity = capacity
        self.rate = rate
        self.ports: list[int] = []
        self._process = EngineProcess(
            address,
            ports,
            capacity=capacity,
            layout=Layout(clip_seconds * FRAMES, rate),
            hear=self._hear,
            expecting=lambda: bool(self.recordings),
        )
        self.family = self._process.family
        self.board: Board
        self._free = list(range(capacity - 1, -1, -1))
        self._generations = [0] * 2 * capacity
        self._legs: dict[int, Leg] = {}
        self._on_gate: list[int] = []
        self._peers: dict[tuple[int, bytes], Leg] = {}
        self._rooms: dict[int, Room] = {}
        self._free_rooms = list(range(2 * capacity - 1, capacity - 1, -1))
        self.recordings: dict[int, Recording] = {}
        self._numbers = 0
        self._tones: dict[tuple[str, str], Clip] = {}
        self._loaded: dict[tuple[str, int, int], Clip] = {}
        self._running: AbstractAsyncContextManager[None] | None = None

    async def __aenter__(self) -> AudioPlane:
        self._running = self._run()
        await self._running.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        assert self._running is not None  # noqa: S101 - `__aenter__` sets it
        return await self._running.__aexit__(kind, error, trace)

    def leg(
        self,
        *,
        codec: Codec = "PCMU/8000",
        payload_type: int | None = None,
        events_payload_type: int | None = 101,
    ) -> Leg:
        """A new leg, with a port, to be connected. Raises CapacityError, ValueError."""
        if not self._free:
            raise CapacityError(f"all {self.capacity} legs are in use")
        row = self._free.pop()
        gate = min(range(len(self.ports)), key=self._on_gate.__getitem__)
        self._generations[row] += 1
        leg = Leg(self, row, self._generations[row], gate)
        try:
            leg.set(codec, payload_type, events_payload_type)
        except ValueError:
            self._free.append(row)
            raise
        self._on_gate[gate] += 1
        self._legs[row] = leg
        self.command(wire.Open(row, leg.generation, gate, secrets.randbits(32)))
        return leg

    def speak_until(self, moment: float) -> None:
        """Fall silent at ``moment`` (seconds of `services.core.failover.clock`), unless told anew.

        So that a service that hangs, whose calls others go on with, does not speak in between:
        this process does not hang with it.
        """
        self.board.until[0] = moment

    def room(self, *, speakers: int | None = None) -> Room:
        """A new room. ``speakers``: how many of the loudest are heard at once; None for all.

        Raises CapacityError; ValueError for less than one speaker.
        """
        if speakers is not None and not 1 <= speakers <= 64:
            raise ValueError(f"speakers {speakers}: expected 1 to 64")
        if not self._free_rooms:
            raise CapacityError(f"all {self.capacity} rooms are in use")
        row = self._free_rooms.pop()
        self._generations[row] += 1
        room = self._rooms[row] = Room(self, row, self._generations[row])
        self.command(wire.OpenRoom(row, room.generation, speakers or 0))
        return room

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    @property
    def legs(self) -> int:
        """How many there are."""
        return len(self._legs)

    async def load(self, path: Path | str) -> Clip:
        """The sound of a file, decoded if it is not here yet; the same file is the same clip.

        WAV, Opus, and what else FFmpeg reads. Raises ClipError, CapacityError.
        """
        name = str(path)
        try:
            status = await trio.Path(path).stat()
        except OSError as error:
            raise ClipError(f"{name}: {error.strerror}") from None
        key = (name, status.st_mtime_ns, status.st_size)
        if key not in self._loaded:
            samples = await trio.to_thread.run_sync(sound.read, Path(path), self.rate)
            if key not in self._loaded:  # somebody else may have been faster
                self._loaded[key] = self.clip(samples, name=name)
        return self._loaded[key]

    def clip(self, samples: NDArray[np.int16], *, name: str = "sound") -> Clip:
        """A clip of 16-bit samples at the plane's rate. Raises CapacityError."""
        whole = np.ascontiguousarray(samples, np.int16)
        try:
            first, frames = self._process.arena.put(whole, sound.resample(whole, self.rate, NARROW))
        except MemoryError as error:
            raise CapacityError(f"{name}: {error}") from None
        return Clip(self, first, frames, len(whole), self.rate, name)

    def tone(self, kind: Tone, country: str) -> Clip:
        """One round of a country's tone, to be played with ``loop``; made once.

        ``country`` is as in `tones.country`. Raises CapacityError, ValueError.
        """
        return self._made((kind, country), lambda: tones.tone(kind, country, self.rate))

    def beep(self) -> Clip:
        """The tone after which a message is recorded; made once. Raises CapacityError."""
        return self._made(("beep", ""), lambda: tones.beep(rate=self.rate))

    def _made(self, key: tuple[str, str], make: Callable[[], Samples]) -> Clip:
        clip = self._tones.get(key)
        if clip is None or clip.closed:
            clip = self._tones[key] = self.clip(make(), name=" ".join(key).strip())
        return clip

    def metrics(self) -> dict[str, tuple[float, str]]:
        """Figures for `services.core.admin.Gauges`; lateness is that since the last call."""
        return self._meter.read(len(self._legs))

    def remove_clip(self, clip: Clip) -> None:
        """Nobody plays it any more."""
        for key, loaded in list(self._loaded.items()):
            if loaded is clip:
                del self._loaded[key]
        self._process.arena.remove(clip.first, clip.frames)

    # What legs ask of their plane.

    def command(self, command: wire.Command) -> None:
        """Have something done with the next frame."""
        self._process.command(command)

    def next_number(self) -> int:
        """For a playback or another thing that is told of later."""
        self._numbers = self._numbers % 0xFFFFFFFF + 1
        return self._numbers

    def announce(self, leg: Leg, before: bytes, peer: bytes) -> None:
        """``peer`` is the other side of ``leg``. Raises ValueError if it is another leg's."""
        if peer and self._peers.get((leg.gate, peer), leg) is not leg:
            raise ValueError("another leg on this port has the same other side")
        if before:
            self._peers.pop((leg.gate, before), None)
        if peer:
            self._peers[leg.gate, peer] = leg

    def release(self, leg: Leg) -> None:
        """The leg has ended."""
        del self._legs[leg.row]
        self._free.append(leg.row)
        self._on_gate[leg.gate] -= 1

    def release_room(self, room: Room) -> None:
        """The room has ended."""
        del self._rooms[room.row]
        self._free_rooms.append(room.row)

    # What the plane's process says.

    @asynccontextmanager
    async def _run(self) -> AsyncGenerator[None, None]:
        try:
            async with self._process.run():
                self.board = self._process.board
                self.ports = self._process.ports
                self._on_gate = [0] * len(self.ports)
                self._meter = Meter(self.board)
                try:
                    yield
                finally:
                    for source in [*self._rooms.values(), *self._legs.values()]:
                        source.end()
        finally:
            for recording in self.recordings.values():
                failed(recording, "the plane has ended")
            self.recordings.clear()

    def _hear(self, notice: wire.Notice) -> None:
        if isinstance(notice, wire.Ready):
            return
        if isinstance(notice, wire.Recorded):
            recording = self.recordings.pop(notice.recording, None)
            if recording is not None:
                ended = msgspec.convert(notice.ended, Ended)
                recording.end(Recorded(recording.path, notice.seconds, ended, notice.problem))
            return
        source = self._legs.get(notice.row) or self._rooms.get(notice.row)
        if source is None or source.generation != notice.generation:
            return
        if isinstance(notice, wire.Played):
            source.played(notice.playback, Played(notice.position, notice.whole))
        elif isinstance(source, Leg):
            _tell(source, notice)


def _tell(leg: Leg, notice: wire.Key | wire.KeysSent | wire.Unheard | wire.Speech) -> None:
    match notice:
        case wire.Key():
            leg.take(Digit(notice.key, notice.time, notice.in_band))
        case wire.Speech():
            leg.take(Speech(notice.speaking, notice.time))
        case wire.KeysSent():
            leg.keys_sent(notice.sending)
        case wire.Unheard():
            leg.take(Unheard(notice.seconds) if notice.seconds else HeardAgain())

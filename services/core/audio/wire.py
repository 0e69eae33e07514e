"""What the service and the plane's process say to each other."""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    pass


class Open(_Message, frozen=True):
    """A leg begins in ``row``; what is told of it bears ``generation``."""

    row: int
    generation: int
    gate: int
    ssrc: int


class Connect(_Message, frozen=True):
    """Where a leg's other side is, as ``sockaddr``, and what is spoken; empty: nowhere."""

    row: int
    peer: bytes
    control: bytes
    codec: str
    payload_type: int
    events: int
    """Payload type of telephone events; -1 if there are none."""
    in_band: bool
    send: bool
    receive: bool
    timeout: float
    """Seconds without a packet after which it is told; 0 for never."""


class Close(_Message, frozen=True):
    """A leg ends."""

    row: int


class Play(_Message, frozen=True):
    """Play ``segments`` (first frame, frames) from ``position`` (frames of the whole) on."""

    row: int
    playback: int
    segments: list[tuple[int, int]]
    position: int
    loop: bool
    gain: float


class Stop(_Message, frozen=True):
    """Play no more."""

    row: int
    playback: int


class SendKeys(_Message, frozen=True):
    """Send telephone events; ``held`` and ``gap`` in frames."""

    row: int
    sending: int
    keys: str
    held: int
    gap: int


class Tune(_Message, frozen=True):
    """What a leg wishes for; ``comfort`` in dBov, 0 for silence."""

    row: int
    muted: bool
    deaf: bool
    watched: bool
    comfort: float


class OpenRoom(_Message, frozen=True):
    """A room begins; its row is after those of all legs. ``speakers``: 0 for all."""

    row: int
    generation: int
    speakers: int


class CloseRoom(_Message, frozen=True):
    """A room ends."""

    row: int


class Join(_Message, frozen=True):
    """A leg goes from wherever it is into a room; -1: into none."""

    row: int
    room: int


class Record(_Message, frozen=True):
    """Record a leg or a room; ``limit`` and ``silence`` in frames, 0 for none."""

    row: int
    recording: int
    path: str
    limit: int
    silence: int


class StopRecord(_Message, frozen=True):
    """Record no more."""

    row: int
    recording: int


Command: TypeAlias = (
    Open
    | Connect
    | Close
    | Play
    | Stop
    | SendKeys
    | Tune
    | OpenRoom
    | CloseRoom
    | Join
    | Record
    | StopRecord
)


class Ready(_Message, frozen=True):
    """The loop runs. ``problem``: why not with real-time priority."""

    problem: str = ""


class Played(_Message, frozen=True):
    """A playback is over; ``position`` in samples. ``whole``: it was not interrupted."""

    row: int
    generation: int
    playback: int
    position: int
    whole: bool


class Key(_Message, frozen=True):
    """A key was pressed at ``time`` (CLOCK_MONOTONIC)."""

    row: int
    generation: int
    key: str
    time: float
    in_band: bool


class KeysSent(_Message, frozen=True):
    """All of a `SendKeys` have been sent."""

    row: int
    generation: int
    sending: int


class Unheard(_Message, frozen=True):
    """Nothing has come from a leg's other side for ``seconds``; 0: something comes again."""

    row: int
    generation: int
    seconds: float


class Speech(_Message, frozen=True):
    """A leg's other side began to speak, or has stopped."""

    row: int
    generation: int
    speaking: bool
    time: float


class Recorded(_Message, frozen=True):
    """A recording is on disk, or could not be written."""

    row: int
    recording: int
    ended: str
    seconds: float
    problem: str


Notice: TypeAlias = Ready | Played | Key | KeysSent | Unheard | Speech | Recorded


class Start(msgspec.Struct, frozen=True):
    """What the process is started with: the numbers of the descriptors that it inherits."""

    capacity: int
    rooms: int
    rate: int
    arena_frames: int
    control: int
    board: int
    arena: int
    gates: list[tuple[int, int]]
    """RTP and RTCP socket of each gate."""
    family: int
    cname: str

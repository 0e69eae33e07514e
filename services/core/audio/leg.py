"""A leg: one party's sound, in and out."""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import msgspec
import trio

from services.core.audio import wire
from services.core.audio.batch import sockaddr
from services.core.audio.events import LegEvent
from services.core.audio.keys import KEYS
from services.core.audio.playback import KeysSending
from services.core.audio.source import Source

if TYPE_CHECKING:
    from services.core.audio.plane import AudioPlane
    from services.core.audio.room import Room

Codec: TypeAlias = Literal["PCMU/8000", "PCMA/8000", "L16/8000", "L16/16000"]
CODECS: tuple[Codec, ...] = get_args(Codec)
STATIC = {"PCMU/8000": 0, "PCMA/8000": 8}
"""Payload types that need no rtpmap (RFC 3551 section 6)."""
FRAME = 0.02
WAITING = 1000
"""Events that are kept for somebody who does not read them; then new ones are lost."""


class Quality(msgspec.Struct, frozen=True):
    """What came of a leg's packets; times in seconds.

    ``round_trip`` and ``remote_lost`` (a part of all) are told by the other side's RTCP, and are
    None while it has told nothing.
    """

    sent: int
    received: int
    lost: int
    late: int
    concealed: int
    jitter: float
    delay: float
    round_trip: float | None
    remote_lost: float | None


class Leg(Source):
    """Made by `AudioPlane.leg`; ends with its `with` block, or with `close`.

    ``address`` and ``port`` are what the other side sends to. Commands are carried out with the
    next frame, in the order that they were given; none of them waits.
    """

    def __init__(self, plane: AudioPlane, row: int, generation: int, gate: int) -> None:
        super().__init__(plane, row, generation)
        self.gate = gate
        self.address = plane.address
        self.port = plane.ports[gate]
        self._codec: Codec = "PCMU/8000"
        self._payload_type: int | None = None
        self._events_payload_type: int | None = 101
        self._peer: tuple[bytes, bytes] = (b"", b"")
        self._sendings: dict[int, KeysSending] = {}
        self._room: Room | None = None
        self._tuning = wire.Tune(row, muted=False, deaf=False, watched=False, comfort=0.0)
        self._told, self._events = trio.open_memory_channel[LegEvent](math.inf)

    @property
    def control_port(self) -> int:
        """Where this side takes RTCP, unless it is multiplexed."""
        return self.port + 1

    def set(self, codec: Codec, payload_type: int | None, events_payload_type: int | None) -> None:
        """Defaults for `connect`. Raises ValueError."""
        if codec not in CODECS:
            raise ValueError(f"codec {codec}: expected one of {', '.join(CODECS)}")
        self._codec = codec
        self._payload_type = payload_type
        self._events_payload_type = events_payload_type

    def connect(
        self,
        address: str,
        port: int,
        *,
        codec: Codec | None = None,
        payload_type: int | None = None,
        events_payload_type: int | Literal["as before"] | None = "as before",
        control_port: int | None = None,
        send: bool = True,
        receive: bool = True,
        in_band_digits: bool | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send to ``address`` and ``port``, and take packets from there and from nowhere else.

        May be called again, after a re-INVITE: what plays goes on, and sequence numbers too.
        ``codec`` and the payload types are those of the leg if they are left out.
        ``events_payload_type`` None: no telephone events; then keys are heard as tones, or if
        ``in_band_digits`` says so. ``control_port``: where RTCP goes, the next port if not given;
        the same port where RTCP is multiplexed (RFC 5761). ``send``, ``receive``: the direction;
        a leg that does not send stands still in what it plays. After ``timeout`` seconds without
        a packet there is an `Unheard`.

        Raises ValueError for what is no address, codec or payload type, and if another leg on
        this port has the same other side.
        """
        self._check_open()
        self.set(
            codec or self._codec,
            payload_type if payload_type is not None or codec is not None else self._payload_type,
            self._events_payload_type
            if events_payload_type == "as before"
            else events_payload_type,
        )
        own = self._payload_type if self._payload_type is not None else STATIC.get(self._codec)
        if own is None:
            raise ValueError(f"{self._codec} has no payload type of its own: give payload_type")
        events = self._events_payload_type
        for number in (own, 0 if events is None else events):
            if not 0 <= number <= 127 or 64 <= number <= 95:  # RFC 5761 section 4
                raise ValueError(f"payload type {number}: expected 0 to 63 or 96 to 127")
        peer = sockaddr(address, port)
        control = sockaddr(address, control_port or min(port + 1, 65535))
        if (":" in address) != (self._plane.family == socket.AF_INET6):
            raise ValueError(f"{address} is not of the address family of {self.address}")
        self._plane.announce(self, self._peer[0], peer)
        self._peer = (peer, control)
        self._plane.command(
            wire.Connect(
                row=self.row,
                peer=peer,
                control=control,
                codec=self._codec,
                payload_type=own,
                events=-1 if events is None else events,
                in_band=events is None if in_band_digits is None else in_band_digits,
                send=send,
                receive=receive,
                timeout=timeout or 0.0,
            )
        )

    def mute(self, on: bool = True) -> None:
        """Whether rooms do not hear it."""
        self._tune(muted=on)

    def deafen(self, on: bool = True) -> None:
        """Whether it does not hear rooms; what it is played itself, it hears."""
        self._tune(deaf=on)

    def watch_speech(self, on: bool = True) -> None:
        """Whether there are `Speech` events, and `level` is kept up outside of rooms."""
        self._tune(watched=on)

    def comfort_noise(self, level: float | None) -> None:
        """Noise of so many dBov is sent in place of silence; None for silence. -60 is usual.

        Raises ValueError if it is not between -90 and -30.
        """
        if level is not None and not -90 <= level <= -30:
            raise ValueError(f"comfort noise {level}: expected -90 to -30 dBov")
        self._tune(comfort=level or 0.0)

    def _tune(self, **changes: bool | float) -> None:
        self._check_open()
        self._tuning = msgspec.structs.replace(self._tuning, **changes)
        self._plane.command(self._tuning)

    @property
    def room(self) -> Room | None:
        """The room that it is in."""
        return self._room

    def enter(self, room: Room | None) -> None:
        """A room takes it, or lets it go."""
        if room is not None:
            self._check_open()
        if self._room is not None and self._room is not room:
            self._room.forget(self)
        self._room = room

    def send_keys(self, keys: str, *, held: float = 0.1, gap: float = 0.1) -> KeysSending:
        """Send keys as telephone events, after those that are being sent.

        ``held`` and ``gap`` in seconds. Raises ValueError for what is no key, and where the other
        side takes no telephone events.
        """
        self._check_open()
        if not keys or not set(keys) <= set(KEYS):
            raise ValueError(f"keys {keys!r}: expected some of {KEYS}")
        if self._events_payload_type is None:
            raise ValueError("the other side takes no telephone events")
        number = self._plane.next_number()
        sending = self._sendings[number] = KeysSending()
        frames = max(2, round(held / FRAME)), max(2, round(gap / FRAME))
        self._plane.command(wire.SendKeys(self.row, number, keys, *frames))
        return sending

    async def events(self) -> AsyncIterator[LegEvent]:
        """What happens, in order; ends when the leg does."""
        async for event in self._events:
            yield event

    async def next_event(self) -> LegEvent | None:
        """The next event; None when the leg has ended."""
        try:
            return await self._events.receive()
        except trio.EndOfChannel:
            return None

    @property
    def level(self) -> float:
        """How loud the other side was in the last frame, in dBov: -127 (silence) to 0.

        Kept up in rooms, while it is recorded, and with `watch_speech`.
        """
        return float(self._plane.board.level[self.row])

    @property
    def quality(self) -> Quality:
        """What came of the leg's packets so far."""
        board, row = self._plane.board, self.row
        round_trip = float(board.round_trip[row])
        known = not math.isnan(round_trip)
        return Quality(
            sent=int(board.sent[row]),
            received=int(board.received[row]),
            lost=max(0, int(board.lost[row])),
            late=int(board.late[row]),
            concealed=int(board.concealed[row]),
            jitter=float(board.jitter[row]),
            delay=float(board.delay[row]),
            round_trip=round_trip if known else None,
            remote_lost=float(board.remote_lost[row]) if known else None,
        )

    def close(self) -> None:
        """End the leg: what it played is interrupted, its port may be given to another."""
        if self._closed:
            return
        self._plane.command(wire.Close(self.row))
        self._plane.announce(self, self._peer[0], b"")
        self.end()
        self._plane.release(self)

    def end(self) -> None:
        """Nothing more comes of this leg."""
        super().end()
        self.enter(None)
        for sending in self._sendings.values():
            sending.end()
        self._sendings.clear()
        self._told.close()

    def take(self, event: LegEvent) -> None:
        """The plane tells of something."""
        if not self._closed and self._told.statistics().current_buffer_used < WAITING:
            self._told.send_nowait(event)

    def keys_sent(self, number: int) -> None:
        """The plane tells that keys were sent."""
        sending = self._sendings.pop(number, None)
        if sending is not None:
            sending.end()

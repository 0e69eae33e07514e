"""Keys as telephone events (RFC 4733): packets in, keys out, and keys to be sent: pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

KEYS = "0123456789*#ABCD"
"""Events 0 to 15 (RFC 4733 section 3.2); 16 is a hook flash, and not a key."""
FORMAT = struct.Struct("!BBH")
REMEMBERED = 16
"""Events whose time stamps are kept, so that late and repeated packets are known."""
FINAL = 3
"""How often the last packet of an event is sent (RFC 4733 section 2.5.1.4)."""
VOLUME = 10
"""Power of a sent event, -10 dBm0."""
LONGEST = 0xFFFF
"""The duration at which an event goes on as a new segment (RFC 4733 section 2.5.1.3)."""


class Payload(NamedTuple):
    """``duration`` in units of the RTP clock."""

    event: int
    end: bool
    volume: int
    duration: int


def parse(payload: bytes) -> Payload | None:
    """The first event of a payload; None if it is too short."""
    if len(payload) < FORMAT.size:
        return None
    event, flags, duration = FORMAT.unpack_from(payload)
    return Payload(event, flags & 0x80 != 0, flags & 0x3F, duration)


def build(payload: Payload) -> bytes:
    """The payload's four bytes."""
    flags = (0x80 if payload.end else 0) | payload.volume & 0x3F
    return FORMAT.pack(payload.event, flags, payload.duration)


class Heard:
    """The keys that one stream tells of, each once, whatever is lost, late or repeated.

    All packets of an event have its time stamp, so an unknown time stamp is a new press, at the
    first packet of it that arrives. The stamps of the last `REMEMBERED` presses are known.
    """

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self._ssrc = -1

    def feed(self, ssrc: int, timestamp: int, payload: bytes) -> str:
        """The key that this packet is the first of; empty if it is none."""
        found = parse(payload)
        if found is None or found.event >= len(KEYS):
            return ""
        if ssrc != self._ssrc:
            self._ssrc = ssrc
            self._known.clear()
        first = timestamp not in self._known
        if first:
            self._known[timestamp] = found.event
            while len(self._known) > REMEMBERED:
                del self._known[next(iter(self._known))]
            if self._continues(timestamp, found.event):
                return ""
        return KEYS[found.event] if first else ""

    @property
    def any(self) -> bool:
        """Whether there has been any event in the present stream."""
        return bool(self._known)

    def _continues(self, timestamp: int, event: int) -> bool:
        """Whether this is the next segment of a press that is longer than a duration can say.

        The segment before it is exactly as long as the greatest duration.
        """
        before = (timestamp - LONGEST) & 0xFFFFFFFF
        return self._known.get(before) == event


class Packet(msgspec.Struct, frozen=True):
    """An event packet to be sent in place of a frame of sound."""

    marker: bool
    timestamp: int
    payload: bytes


class Sending:
    """Keys that are to be sent, a packet a frame.

    ``step`` is a frame in units of the RTP clock; ``held`` and ``gap`` are frames.
    """

    def __init__(self, keys: str, step: int, held: int, gap: int) -> None:
        self._keys = keys
        self._step = step
        self._held = held
        self._gap = gap

    def packets(self, start: int) -> Iterator[Packet | None]:
        """What each frame from the one with time stamp ``start`` on is; None for the pauses.

        Raises ValueError for what is no key.
        """
        timestamp = start
        for key in self._keys:
            event = KEYS.index(key)
            for frame in range(1, self._held + FINAL):
                end = frame >= self._held
                duration = min(frame, self._held) * self._step
                payload = build(Payload(event, end, VOLUME, min(duration, LONGEST)))
                yield Packet(frame == 1, timestamp & 0xFFFFFFFF, payload)
            for _ in range(self._gap):
                yield None
            timestamp += (self._held + FINAL - 1 + self._gap) * self._step

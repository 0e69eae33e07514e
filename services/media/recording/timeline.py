"""Where on the time line each packet of one direction belongs: pure.

Packets come with the time they arrived. They leave in the order they were sent, each with the time
it was meant to be heard: the sender's timestamps carry the spacing, arrival times carry where it
all lies, late start, pauses and a sender's clock that runs fast or slow.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import NamedTuple

from services.media.rtp import Packet

REORDER = 0.2
"""Seconds that a missing packet is waited for; later than that it is lost."""
JUMP = 0.5
"""Seconds between timestamp and arrival from which on the timestamps have started anew."""
EARLY = 0.06
"""Seconds before its time that a packet may arrive; more means that the first one came late."""
WINDOW = 100
"""Packets over which the least delay is taken as the clock's drift rather than as jitter."""
STEP = 1 / 8000
"""Seconds by which one packet may be moved to follow a drift: one sample, which nobody hears."""


class Placed(NamedTuple):
    """``time``: when the packet's sound begins, on the clock of the arrival times."""

    time: float
    packet: Packet


class _Waiting(NamedTuple):
    """In the order of ``sequence``, then of ``order``: packets have none."""

    sequence: int
    order: int
    arrival: float
    packet: Packet


class Timeline:
    """One direction of a call. ``clock``: Hz of a payload type's RTP clock, 0 to drop it."""

    def __init__(self, clock: Callable[[int], int]) -> None:
        self._clock = clock
        self._heap: list[_Waiting] = []
        self._fed = 0
        self._ssrc = -1
        self._highest = 0
        self._next: int | None = None
        self._rate = 0
        self._last_timestamp = 0
        self._timestamp = 0
        self._offset: float | None = None
        self._least = float("inf")
        self._count = 0
        self._owed = 0.0
        self.lost = 0
        self.late = 0

    def feed(self, arrival: float, packet: Packet) -> Iterator[Placed]:
        """Take a packet; give those whose turn has come."""
        if packet.ssrc != self._ssrc:
            yield from self.flush()
            self._ssrc = packet.ssrc
            self._highest = packet.sequence
            self._next = None
            self._offset = None
        sequence = _extend(packet.sequence, self._highest, 16)
        self._highest = max(self._highest, sequence)
        if self._next is not None and sequence < self._next:
            if self._next - sequence < 1000:
                self.late += 1  # a duplicate, or after its place was given up
                return
            # Far back: the sender has started anew without changing its SSRC.
            yield from self.flush()
            self._highest = sequence
        self._fed += 1
        heapq.heappush(self._heap, _Waiting(sequence, self._fed, arrival, packet))
        yield from self._release(arrival)

    def flush(self) -> Iterator[Placed]:
        """Give all that waits; the next packet starts a sequence of its own."""
        yield from self._release(float("inf"))
        self._next = None

    def _release(self, now: float) -> Iterator[Placed]:
        while self._heap:
            first = self._heap[0]
            in_turn = self._next is None or first.sequence <= self._next
            if not in_turn and now - first.arrival < REORDER:
                return
            heapq.heappop(self._heap)
            if self._next is not None:
                if first.sequence < self._next:
                    self.late += 1
                    continue
                self.lost += min(first.sequence - self._next, 1000)
            self._next = first.sequence + 1
            placed = self._place(first.arrival, first.packet)
            if placed is not None:
                yield placed

    def _place(self, arrival: float, packet: Packet) -> Placed | None:
        clock = self._clock(packet.payload_type)
        if not clock:
            return None
        if clock != self._rate:
            self._rate, self._offset = clock, None
        if self._offset is None:
            self._last_timestamp = packet.timestamp
            return self._anchor(arrival, packet)
        self._last_timestamp = _extend(packet.timestamp, self._last_timestamp, 32)
        due = self._last_timestamp / clock + self._offset
        delay = arrival - due
        if delay > JUMP or delay < -EARLY:
            return self._anchor(arrival, packet)
        self._follow(delay)
        return Placed(self._last_timestamp / clock + self._offset, packet)

    def _anchor(self, arrival: float, packet: Packet) -> Placed:
        self._offset = arrival - self._last_timestamp / self._rate
        self._least, self._count, self._owed = float("inf"), 0, 0.0
        return Placed(arrival, packet)

    def _follow(self, delay: float) -> None:
        """Moves the anchor, a sample a packet at most, by what the least delay says."""
        assert self._offset is not None  # noqa: S101 - `_place` anchors first
        self._least = min(self._least, delay)
        self._count += 1
        if delay < 0:
            self._owed = min(self._owed, delay)
        if self._count >= WINDOW:
            self._owed, self._least, self._count = self._least, float("inf"), 0
        move = max(-STEP, min(STEP, self._owed))
        self._owed -= move
        self._offset += move


def _extend(value: int, near: int, bits: int) -> int:
    """The number nearest to ``near`` whose low ``bits`` are ``value`` (RFC 3550 appendix A.1)."""
    span = 1 << bits
    step = (value - near) & (span - 1)
    return near + step - (span if step >= span // 2 else 0)

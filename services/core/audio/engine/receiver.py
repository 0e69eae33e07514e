"""Takes what has come: which leg it is of, whether it is sound RTP, and where its parts go."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.core.audio.batch import Inbox
from services.core.audio.board import DROPPED, Board
from services.core.audio.engine.legs import RATES, Legs
from services.core.audio.engine.peers import Gate
from services.core.audio.engine.reports import Reports

HEADER = 12
LARGEST = 1360
"""Bytes of a datagram; 40 ms of L16 at 16 kHz are 1292."""
AT_ONCE = 2048
ROUNDS = 8
"""Batches that are taken in one frame from one gate; a flood waits, and is cut by the kernel."""
SINGLY = 256
"""Packets of a kind that are looked at one by one, at most so many of a batch: events, and those
with a new SSRC. A flood of them must not keep others from their sound."""
COMFORT_NOISE = 13
"""Payload type (RFC 3389 section 4)."""
FAR = 3000
"""A jump of the sequence number that is a new beginning (RFC 3550 appendix A.1)."""
_HEAD = np.dtype({"names": ["sequence", "timestamp", "ssrc"], "formats": [">u2", ">u4", ">u4"],
                  "offsets": [2, 4, 8], "itemsize": LARGEST})  # fmt: skip
MALFORMED, UNKNOWN, PAYLOAD_TYPE, _ = range(len(DROPPED))


class Packets(NamedTuple):
    """Packets of sound, an element each.

    The payload of each is ``data[chosen]`` from `HEADER` on, ``lengths`` bytes.
    """

    rows: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    data: NDArray[np.uint8]
    chosen: NDArray[np.intp]
    lengths: NDArray[np.int64]


class Receiver:
    """``sound`` takes the packets of legs to whom somebody listens; ``comfort`` is told the level
    of the noise that the other side wishes to be heard, in dBov."""

    def __init__(
        self,
        legs: Legs,
        gates: list[Gate],
        family: int,
        sound: Callable[[int, Packets], None],
        comfort: Callable[[int, float], None],
        reports: Reports,
    ) -> None:
        self._legs = legs
        self._board: Board = legs.board
        self._gates = gates
        self._inbox = Inbox(AT_ONCE, LARGEST, family)
        self._sound = sound
        self._comfort = comfort
        self._reports = reports

    def step(self, tick: int) -> int:
        """Take all that has come; how many datagrams."""
        total = 0
        for gate in self._gates:
            for _ in range(ROUNDS):
                count = self._inbox.receive(gate.rtp)
                if count:
                    self._take(gate, count, tick)
                total += count
                if count < self._inbox.full:
                    break
        return total

    def _take(self, gate: Gate, count: int, tick: int) -> None:
        inbox, legs, dropped = self._inbox, self._legs, self._board.dropped
        data, lengths = inbox.data[:count], inbox.lengths(count)
        rows = gate.peers.find(inbox.addresses[:count])
        first, second = data[:, 0], data[:, 1]
        known = rows >= 0
        dropped[UNKNOWN] += count - np.count_nonzero(known)
        whole = known & (lengths >= HEADER) & (first >> 6 == 2)
        control = (second >= 192) & (second <= 223)  # RFC 5761 section 4
        rtp = whole & ~control
        odd = np.nonzero(rtp & (first != 0x80))[0]
        if len(odd):
            rtp[odd] = strip(data, lengths, odd)
        if (whole & control).any():
            muxed = np.nonzero(whole & control)[0]
            arrivals = inbox.arrivals(count)[muxed]
            self._reports.take(rows[muxed], data[muxed], lengths[muxed], arrivals)
        payload_types = second & 0x7F
        sound = rtp & (payload_types == legs.payload_type[rows])
        events = rtp & (payload_types == legs.events[rows])
        noise = rtp & (payload_types == COMFORT_NOISE) & ~sound & ~events
        dropped[PAYLOAD_TYPE] += np.count_nonzero(rtp & ~sound & ~events & ~noise)
        dropped[MALFORMED] += np.count_nonzero(known & ~rtp & ~(whole & control))
        kept = np.nonzero(sound | events | noise)[0]
        if len(kept):
            kept = self._follow(kept, rows[kept], data, tick, sound)
        chosen = kept[sound[kept] & legs.listened[rows[kept]]]
        if len(chosen):
            heads = data.view(_HEAD)[:, 0]
            self._sound(
                tick,
                Packets(
                    rows[chosen],
                    heads["timestamp"][chosen].astype(np.int64),
                    data,
                    chosen,
                    lengths[chosen] - HEADER,
                ),
            )
        for i in kept[noise[kept] & legs.listened[rows[kept]]][:SINGLY]:
            if lengths[i] > HEADER:
                self._comfort(int(rows[i]), -float(data[i, HEADER] & 0x7F))
        for i in kept[events[kept] & legs.receiving[rows[kept]]][:SINGLY]:
            head = data[i].view(_HEAD)[0]
            payload = data[i, HEADER : lengths[i]].tobytes()
            legs.key(
                int(rows[i]), int(head["ssrc"]), int(head["timestamp"]), payload, time.monotonic()
            )

    def _follow(
        self,
        kept: NDArray[np.intp],
        rows: NDArray[np.int64],
        data: NDArray[np.uint8],
        tick: int,
        sound: NDArray[np.bool_],
    ) -> NDArray[np.intp]:
        """Count the packets into their streams; gives those that belong to one."""
        legs = self._legs
        heads = data.view(_HEAD)[:, 0][kept]
        ssrc = heads["ssrc"].astype(np.int64)
        sequence = heads["sequence"].astype(np.int64)
        same = ssrc == legs.ssrc_in[rows]
        if not same.all():
            self._meet(np.nonzero(~same)[0], rows, ssrc, sequence, same)
            kept, rows, heads, sequence = kept[same], rows[same], heads[same], sequence[same]
        highest = legs.sequence[rows]
        delta = ((sequence - highest + 0x8000) & 0xFFFF) - 0x8000
        far = np.abs(delta) > FAR
        if far.any():
            legs.sequence_base[rows[far]] += delta[far]
            legs.sequence[rows[far]] += delta[far]
        np.maximum.at(legs.sequence, rows, highest + delta)
        np.add.at(legs.stream_received, rows, 1)
        np.add.at(self._board.received, rows, 1)
        legs.heard_at[rows] = tick
        spoken = sound[kept]
        self._measure(rows[spoken], heads[spoken], self._inbox.arrivals(len(data))[kept[spoken]])
        return kept

    def _meet(
        self,
        strangers: NDArray[np.intp],
        rows: NDArray[np.int64],
        ssrc: NDArray[np.int64],
        sequence: NDArray[np.int64],
        same: NDArray[np.bool_],
    ) -> None:
        """A new SSRC is a leg's stream if it is the first, or with its second packet in a row."""
        legs = self._legs
        for i in strangers[:SINGLY]:
            row, theirs = int(rows[i]), int(ssrc[i])
            if legs.ssrc_in[row] == theirs:
                same[i] = True
            elif legs.ssrc_in[row] < 0 or legs.ssrc_next[row] == theirs:
                legs.new_stream(row, theirs, int(sequence[i]))
                same[i] = True
            else:
                legs.ssrc_next[row] = theirs
        legs.ssrc_next[rows[same]] = -1

    def _measure(
        self, rows: NDArray[np.int64], heads: NDArray[np.void], arrivals: NDArray[np.float64]
    ) -> None:
        """Interarrival jitter (RFC 3550 section 6.4.1), of one packet a leg and batch at most."""
        legs = self._legs
        rate = RATES[legs.codec[rows]]
        transit = arrivals * rate - heads["timestamp"]
        moved = np.abs(np.remainder(transit - legs.transit[rows] + 2.0**31, 2.0**32) - 2.0**31)
        legs.transit[rows] = transit
        moved = np.where(moved < 10 * rate, moved, 0.0)  # a first packet, or a new beginning
        legs.jitter[rows] += (moved - legs.jitter[rows]) / 16


def strip(
    data: NDArray[np.uint8], lengths: NDArray[np.int64], odd: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Take CSRCs, header extension and padding out of packets ``odd``; whether each is sound.

    The payload is moved to where it is in plain packets, and the length is made right.
    """
    first = data[odd, 0].astype(np.int64)
    length = lengths[odd]
    start = HEADER + 4 * (first & 15)
    extended = first & 0x10 != 0
    fits = ~extended | (length >= start + 4)
    at = np.where(extended & fits, start, 0)
    words = data[odd, at + 2].astype(np.int64) << 8 | data[odd, at + 3]
    start = start + np.where(extended, 4 + 4 * words, 0)
    padding = np.where(first & 0x20, data[odd, np.maximum(length - 1, 0)], 0)
    end = length - padding
    fits &= (end >= start) & ((first & 0x20 == 0) | (padding > 0))
    for offset in np.unique(start[fits]):
        chosen = odd[fits & (start == offset)]
        size = LARGEST - int(offset)
        data[chosen, HEADER : HEADER + size] = data[chosen, int(offset) :]
    lengths[odd] = np.where(fits, HEADER + end - start, 0)
    return fits

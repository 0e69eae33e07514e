"""RTCP: a sender report of each leg every five seconds, and what the other side reports (RFC 3550).

One report block, for a leg hears one stream, and the CNAME. Nothing else is sent, and of what
comes, reports are read and all else is left alone: SIP says when a call ends.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from services.core.audio.batch import ADDRESS, Inbox, Outbox, send
from services.core.audio.engine.legs import WIDTHS, Legs
from services.core.audio.engine.peers import Gate

PERIOD = 250
"""Beats between two reports of a leg: 5 s, the least of RFC 3550 section 6.2."""
SENDER, RECEIVER, DESCRIPTION = 200, 201, 202
HEAD = 28
"""Bytes of a sender report without blocks."""
BLOCK = 24
LARGEST = 1360
NTP = 2208988800
"""Seconds from 1900 to 1970."""
_REPORT = np.dtype(
    [
        ("first", "u1"), ("kind", "u1"), ("words", ">u2"), ("ssrc", ">u4"), ("seconds", ">u4"),
        ("fraction", ">u4"), ("timestamp", ">u4"), ("packets", ">u4"), ("octets", ">u4"),
    ]
)  # fmt: skip
_BLOCK = np.dtype(
    [
        ("ssrc", ">u4"), ("lost", ">u4"), ("sequence", ">u4"), ("jitter", ">u4"),
        ("last", ">u4"), ("delay", ">u4"),
    ]
)  # fmt: skip
Rows = NDArray[np.int64]


def description(cname: str) -> NDArray[np.uint8]:
    """An SDES packet of one chunk, whose SSRC has still to be written (RFC 3550 section 6.5)."""
    item = bytes((1, len(cname))) + cname.encode() + b"\0"
    item += bytes(-len(item) % 4)
    head = bytes((0x81, DESCRIPTION)) + (1 + len(item) // 4).to_bytes(2, "big") + bytes(4)
    return np.frombuffer(head + item, np.uint8)


def middle(when: NDArray[np.float64]) -> NDArray[np.int64]:
    """The middle 32 bits of an NTP time stamp, from seconds since 1970."""
    return (((when + NTP) * 65536.0).astype(np.int64)) & 0xFFFFFFFF


class Reports:
    """Sends reports from the gates' second sockets, and takes them there and on the first ones."""

    def __init__(self, legs: Legs, gates: list[Gate], family: int, cname: str) -> None:
        n = legs.capacity
        self._legs = legs
        self._gates = gates
        self._description = description(cname)
        size = HEAD + BLOCK + len(self._description)
        self._outbox = Outbox(n, size, family)
        self._outbox.lengths[:] = 0
        self._inbox = Inbox(256, LARGEST, family)
        self._muxed = np.zeros(n, bool)
        self._last = np.zeros(n, np.int64)
        self._last_at = np.zeros(n)
        self._expected = np.zeros(n, np.int64)
        self._received = np.zeros(n, np.int64)

    def connect(self, row: int, control: bytes, muxed: bool) -> None:
        """Where a leg's reports go."""
        self._outbox.addresses[row] = np.frombuffer(control.ljust(ADDRESS, b"\0"), np.uint8)
        self._muxed[row] = muxed
        self._last[row] = 0
        self._expected[row] = self._received[row] = 0

    def step(self, beat: int) -> None:
        """Send the reports that are due in this beat."""
        legs = self._legs
        rows = np.arange(beat % PERIOD, legs.capacity, PERIOD)
        rows = rows[legs.sending[rows]]
        if not len(rows):
            return
        heard = legs.ssrc_in[rows] >= 0
        for some, blocks in ((rows[heard], 1), (rows[~heard], 0)):
            if len(some):
                self._write(some, blocks)
                self._send(some, HEAD + BLOCK * blocks + len(self._description))

    def _write(self, rows: Rows, blocks: int) -> None:
        legs, heads = self._legs, self._outbox.heads
        report = np.zeros(len(rows), _REPORT)
        now = time.time()
        report["first"], report["kind"] = 0x80 | blocks, SENDER
        report["words"] = (HEAD + BLOCK * blocks) // 4 - 1
        report["ssrc"] = legs.ssrc_out[rows]
        report["seconds"], report["fraction"] = int(now) + NTP, int(now % 1 * 2**32)
        report["timestamp"] = legs.timestamp_out[rows]
        report["packets"] = legs.board.sent[rows] & 0xFFFFFFFF
        report["octets"] = legs.board.sent[rows] * WIDTHS[legs.codec[rows]] & 0xFFFFFFFF
        heads[rows, :HEAD] = report.view(np.uint8).reshape(len(rows), -1)
        at = HEAD
        if blocks:
            heads[rows, at : at + BLOCK] = self._block(rows, now)
            at += BLOCK
        heads[rows, at : at + len(self._description)] = self._description
        heads[rows, at + 4 : at + 8] = heads[rows, 4:8]

    def _block(self, rows: Rows, now: float) -> NDArray[np.uint8]:
        """RFC 3550 section 6.4.1 and appendix A.3."""
        legs = self._legs
        expected = legs.sequence[rows] - legs.sequence_base[rows] + 1
        received = legs.stream_received[rows]
        since = np.maximum(expected - self._expected[rows], 0)
        missing = since - (received - self._received[rows])
        self._expected[rows], self._received[rows] = expected, received
        fraction = np.where(since > 0, np.clip(missing * 256 // np.maximum(since, 1), 0, 255), 0)
        lost = np.clip(expected - received, -0x800000, 0x7FFFFF) & 0xFFFFFF
        known = self._last[rows] > 0
        delay = np.where(known, (now - self._last_at[rows]) * 65536, 0)
        block = np.zeros(len(rows), _BLOCK)
        block["ssrc"] = legs.ssrc_in[rows]
        block["lost"] = fraction << 24 | lost
        block["sequence"] = legs.sequence[rows] & 0xFFFFFFFF
        block["jitter"] = legs.jitter[rows]
        block["last"] = np.where(known, self._last[rows], 0)
        block["delay"] = np.clip(delay, 0, 0xFFFFFFFF)
        return block.view(np.uint8).reshape(len(rows), -1)

    def _send(self, rows: Rows, size: int) -> None:
        self._outbox.head_lengths[rows] = size
        for number, gate in enumerate(self._gates):
            here = rows[self._legs.gate[rows] == number]
            for fd, muxed in ((gate.rtp, True), (gate.rtcp, False)):
                some = here[self._muxed[here] == muxed]
                if len(some):
                    send(fd, self._outbox.select(some))

    def receive(self) -> None:
        """Take what has come to the gates' second sockets."""
        for gate in self._gates:
            count = self._inbox.receive(gate.rtcp)
            if count:
                rows = gate.control_peers.find(self._inbox.addresses[:count])
                known = np.nonzero(rows >= 0)[0]
                data, lengths = self._inbox.data[known], self._inbox.lengths(count)[known]
                self.take(rows[known], data, lengths, self._inbox.arrivals(count)[known])

    def take(
        self,
        rows: Rows,
        data: NDArray[np.uint8],
        lengths: NDArray[np.int64],
        arrivals: NDArray[np.float64],
    ) -> None:
        """Read compound packets of known legs."""
        legs = self._legs
        kind, count = data[:, 1], data[:, 0] & 31
        sound = (data[:, 0] >> 6 == 2) & (lengths >= 8)
        reports = sound & (kind == SENDER) & (lengths >= HEAD)
        stamps = _number(data, np.full(len(rows), 10))
        self._last[rows[reports]] = stamps[reports]
        self._last_at[rows[reports]] = arrivals[reports]
        start = np.where(kind == SENDER, HEAD, 8)
        told = (reports | (sound & (kind == RECEIVER))) & (count > 0) & (lengths >= start + BLOCK)
        told &= _number(data, start) == legs.ssrc_out[rows]
        at, some = start[told], rows[told]
        part = data[told]
        legs.board.remote_lost[some] = part[np.arange(len(at)), at + 4] / 256
        last, delay = _number(part, at + 16), _number(part, at + 20)
        trip = ((middle(arrivals[told]) - last - delay + 2**31) & 0xFFFFFFFF) - 2**31
        measured = last > 0
        seconds = np.maximum(trip[measured], 0) / 65536
        plausible = seconds < 60
        legs.board.round_trip[some[measured][plausible]] = seconds[plausible]


def _number(data: NDArray[np.uint8], at: NDArray[np.int64]) -> NDArray[np.int64]:
    """The 32-bit number at byte ``at`` of each row."""
    rows = np.arange(len(data))
    value = np.zeros(len(data), np.int64)
    for byte in range(4):
        value = value << 8 | data[rows, at + byte]
    return value

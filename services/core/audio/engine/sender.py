"""Sends each leg its frame: an RTP header from arrays, and a payload from wherever it lies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.audio import batch, wire
from services.core.audio.batch import Outbox, pointers
from services.core.audio.board import UNSENT
from services.core.audio.engine.legs import PCMA, PCMU, WIDTHS, Legs
from services.core.audio.engine.peers import Gate
from services.core.audio.g711 import SILENCE
from services.core.audio.keys import Packet, Sending

HEADER = 12
_HEAD = np.dtype({"names": ["sequence", "timestamp", "ssrc"], "formats": [">u2", ">u4", ">u4"],
                  "offsets": [2, 4, 8], "itemsize": HEADER})  # fmt: skip


class _Pressing:
    def __init__(self, sending: int, packets: Iterator[Packet | None]) -> None:
        self.sending = sending
        self.packets = packets


class Sender:
    """Payloads are given by address: `payloads`, which stays as it is until it is changed."""

    def __init__(self, legs: Legs, gates: list[Gate], family: int) -> None:
        n = legs.capacity
        self._legs = legs
        self._gates = gates
        self._outbox = Outbox(n, HEADER, family)
        self._heads = self._outbox.heads.view(_HEAD)[:, 0]
        self._outbox.heads[:, 0] = 0x80
        self.payloads = self._outbox.payloads
        silence = np.zeros((4, int(WIDTHS.max())), np.uint8)
        silence[PCMU], silence[PCMA] = SILENCE["PCMU"], SILENCE["PCMA"]
        self._silence = silence
        self.silence = pointers(silence)
        """Where a silent frame is, by codec."""
        self._key_payloads = np.zeros((n, 4), np.uint8)
        self._pressing: dict[int, _Pressing] = {}
        self._queued: dict[int, list[wire.SendKeys]] = {}
        self._fresh: list[int] = []
        self._batches: list[tuple[int, NDArray[Any]]] = []
        self._rows: NDArray[np.intp] = np.zeros(0, np.intp)

    def connect(self, command: wire.Connect) -> None:
        """Where the row's packets go, and as what."""
        row = command.row
        if command.peer:
            self._outbox.addresses[row] = np.frombuffer(command.peer, np.uint8)
        self._heads["ssrc"][row] = self._legs.ssrc_out[row]
        self._outbox.heads[row, 1] = command.payload_type | 0x80  # a new talkspurt (RFC 3551 4.1)
        self._fresh.append(row)
        codec = self._legs.codec[row]
        self._outbox.lengths[row] = WIDTHS[codec]
        self.payloads[row] = self.silence[codec]

    def close(self, row: int) -> None:
        """The leg is gone."""
        self._pressing.pop(row, None)
        self._queued.pop(row, None)

    def press(self, command: wire.SendKeys) -> None:
        """Send keys, after those that are being sent."""
        self._queued.setdefault(command.row, []).append(command)

    def refresh(self) -> None:
        """The rows that send have changed."""
        legs = self._legs
        self._rows = np.nonzero(legs.sending)[0]
        self._batches = []
        for number, gate in enumerate(self._gates):
            rows = self._rows[legs.gate[self._rows] == number]
            if len(rows):
                self._batches.append((gate.rtp, self._outbox.select(rows)))

    def step(self) -> int:
        """Send a frame of every row that sends; how many."""
        legs, rows = self._legs, self._rows
        if not len(rows):
            return 0
        legs.sequence_out[rows] += 1
        legs.timestamp_out[rows] += legs.step[rows]
        self._heads["sequence"] = legs.sequence_out
        self._heads["timestamp"] = legs.timestamp_out
        restore = self._keys() if self._queued or self._pressing else []
        failed = sum(batch.send(fd, headers) for fd, headers in self._batches)
        legs.board.counters[UNSENT] += failed
        legs.board.sent[rows] += 1
        for row in self._fresh:
            self._outbox.heads[row, 1] &= 0x7F
        self._fresh.clear()
        for row, address, length, kind in restore:
            self.payloads[row], self._outbox.lengths[row] = address, length
            self._outbox.heads[row, 1] = kind & 0x7F
        return len(rows)

    def skip(self, frames: int) -> None:
        """Time has passed in which nothing was sent."""
        self._legs.timestamp_out += self._legs.step * np.uint32(frames)

    def _keys(self) -> list[tuple[int, np.uint64, np.uint64, int]]:
        """Puts event packets in the place of sound; gives what has to be put back."""
        restore: list[tuple[int, np.uint64, np.uint64, int]] = []
        legs, box = self._legs, self._outbox
        for row in list(self._queued):
            if row not in self._pressing and legs.sending[row]:
                command = self._queued[row].pop(0)
                keys = Sending(command.keys, int(legs.step[row]), command.held, command.gap)
                packets = keys.packets(int(legs.timestamp_out[row]))
                self._pressing[row] = _Pressing(command.sending, packets)
                if not self._queued[row]:
                    del self._queued[row]
        for row, pressing in list(self._pressing.items()):
            if not legs.sending[row]:
                continue
            try:
                packet = next(pressing.packets)
            except StopIteration:
                del self._pressing[row]
                generation = int(legs.generation[row])
                legs.notices.append(wire.KeysSent(row, generation, pressing.sending))
                continue
            if packet is None:
                continue
            kind = int(box.heads[row, 1])
            restore.append((row, self.payloads[row], box.lengths[row], kind))
            box.heads[row, 1] = int(legs.events[row]) | (0x80 if packet.marker else 0)
            self._heads["timestamp"][row] = packet.timestamp
            self._key_payloads[row] = np.frombuffer(packet.payload, np.uint8)
            self.payloads[row] = self._key_payloads[row].ctypes.data
            box.lengths[row] = 4
        return restore

"""The legs of a plane: a row each in arrays that the steps of a frame work on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.audio import wire
from services.core.audio.board import Board
from services.core.audio.keys import Heard

FRAMES = 50
"""A second."""
SAME = 0.5
"""Seconds between a tone and a telephone event that are of the same press."""
CODECS = ("PCMU/8000", "PCMA/8000", "L16/8000", "L16/16000")
PCMU, PCMA, L16, L16_WIDE = range(4)
RATES = np.array((8000, 8000, 8000, 16000))
WIDTHS = np.array((160, 160, 320, 640))
"""Bytes of a frame's payload."""


class Legs:
    """State by row. `changed` says that a list of rows that somebody keeps is no longer true."""

    def __init__(self, capacity: int, board: Board, notices: list[wire.Notice]) -> None:
        n = capacity
        self.capacity = n
        self.board = board
        self.notices = notices
        self.changed = True
        self.open = np.zeros(n, bool)
        self.generation = np.zeros(n, np.uint32)
        self.gate = np.zeros(n, np.int32)
        self.connected = np.zeros(n, bool)
        self.sending = np.zeros(n, bool)
        self.receiving = np.zeros(n, bool)
        self.listened = np.zeros(n, bool)
        """Whether anybody wants the sound that comes: only then it is decoded."""
        self.watched = np.zeros(n, bool)
        self.comfort = np.zeros(n, np.float32)
        """dBov of the noise that is sent in place of silence; 0 for silence."""
        self.codec = np.zeros(n, np.int8)
        self.payload_type = np.full(n, -1, np.int16)
        self.events = np.full(n, -1, np.int16)
        self.in_band = np.zeros(n, bool)
        # Received stream.
        self.ssrc_in = np.full(n, -1, np.int64)
        self.ssrc_next = np.full(n, -1, np.int64)
        self.sequence = np.zeros(n, np.int64)
        self.sequence_base = np.zeros(n, np.int64)
        self.stream_received = np.zeros(n, np.int64)
        self.transit = np.full(n, np.nan)
        self.jitter = np.zeros(n)
        self.heard_at = np.zeros(n, np.int64)
        self.timeout = np.zeros(n, np.int64)
        self.unheard = np.zeros(n, bool)
        self._keys: dict[int, Heard] = {}
        self._toned: dict[int, tuple[str, float]] = {}
        self.begun: list[int] = []
        """Rows whose stream has begun anew, for those who keep something of it."""
        # Sent stream.
        self.ssrc_out = np.zeros(n, np.uint32)
        self.sequence_out = np.zeros(n, np.uint16)
        self.timestamp_out = np.zeros(n, np.uint32)
        self.step = np.full(n, 160, np.uint32)

    def begin(self, command: wire.Open, tick: int, random: np.random.Generator) -> None:
        """Clear the row for a new leg."""
        row = command.row
        self.open[row] = True
        self.generation[row] = command.generation
        self.gate[row] = command.gate
        self.ssrc_out[row] = command.ssrc
        self.sequence_out[row] = random.integers(0, 1 << 16)
        self.timestamp_out[row] = random.integers(0, 1 << 32)
        self.connected[row] = self.sending[row] = self.receiving[row] = False
        self.watched[row] = False
        self.comfort[row] = 0
        self.heard_at[row] = tick
        self.unheard[row] = False
        self.timeout[row] = 0
        self.forget_stream(row)
        board = self.board
        for column in (board.sent, board.received, board.lost, board.late, board.concealed):
            column[row] = 0
        for column in (board.jitter, board.delay, board.remote_lost):
            column[row] = 0
        board.round_trip[row] = np.nan
        board.level[row] = -127
        board.speaking[row] = 0
        board.generation[row] = command.generation
        self.changed = True

    def connect(self, command: wire.Connect, tick: int) -> None:
        """Take over what was agreed with the other side."""
        row = command.row
        self.connected[row] = bool(command.peer)
        self.sending[row] = command.send and bool(command.peer)
        self.receiving[row] = command.receive
        self.codec[row] = CODECS.index(command.codec)
        self.step[row] = RATES[self.codec[row]] // FRAMES
        self.payload_type[row] = command.payload_type
        self.events[row] = command.events
        self.in_band[row] = command.in_band
        self.timeout[row] = round(command.timeout * FRAMES)
        self.heard_at[row] = tick
        self.forget_stream(row)
        self.changed = True

    def close(self, row: int) -> None:
        """The row is free."""
        self.open[row] = self.connected[row] = self.sending[row] = False
        self._keys.pop(row, None)
        self._toned.pop(row, None)
        self.changed = True

    def forget_stream(self, row: int) -> None:
        """What comes next is a new stream."""
        self.ssrc_in[row] = self.ssrc_next[row] = -1

    def new_stream(self, row: int, ssrc: int, sequence: int) -> None:
        """A stream begins with this packet."""
        board = self.board
        self.ssrc_in[row], self.ssrc_next[row] = ssrc, -1
        self.sequence[row] = self.sequence_base[row] = sequence
        self.stream_received[row] = 0
        self.transit[row] = np.nan
        self.begun.append(row)
        board.lost[row] = self.lost(row)

    def lost(self, rows: Any) -> Any:
        """Packets of the present stream that were sent and have not come (RFC 3550 A.3)."""
        expected = self.sequence[rows] - self.sequence_base[rows] + 1
        return expected - self.stream_received[rows]

    def key(self, row: int, ssrc: int, timestamp: int, payload: bytes, time: float) -> None:
        """A telephone event came."""
        heard = self._keys.get(row)
        if heard is None:
            heard = self._keys[row] = Heard()
        key = heard.feed(ssrc, timestamp, payload)
        toned, when = self._toned.pop(row, ("", 0.0))
        if key and not (key == toned and time - when < SAME):
            self.notices.append(wire.Key(row, int(self.generation[row]), key, time, False))

    def tone(self, row: int, key: str, time: float) -> None:
        """A key was heard as a tone: nothing, if the other side sends telephone events."""
        heard = self._keys.get(row)
        if heard is None or not heard.any:
            self._toned[row] = (key, time)
            self.notices.append(wire.Key(row, int(self.generation[row]), key, time, True))

    def speech(self, row: int, speaking: bool, time: float) -> None:
        """The other side began to speak, or has stopped."""
        self.notices.append(wire.Speech(row, int(self.generation[row]), speaking, time))

    def show(self) -> None:
        """Bring the figures to the board."""
        rows = np.nonzero(self.open & (self.ssrc_in >= 0))[0]
        self.board.lost[rows] = self.lost(rows)
        self.board.jitter[rows] = self.jitter[rows] / RATES[self.codec[rows]]

    def watch(self, tick: int) -> None:
        """Tell of legs that have not been heard for long, and of those that are heard again."""
        waited = tick - self.heard_at
        late = self.open & self.connected & (self.timeout > 0) & (waited >= self.timeout)
        for row in _rows(late & ~self.unheard):
            self.unheard[row] = True
            seconds = float(waited[row]) / FRAMES
            self.notices.append(wire.Unheard(row, int(self.generation[row]), seconds))
        for row in _rows(self.unheard & ~late):
            self.unheard[row] = False
            if self.open[row]:
                self.notices.append(wire.Unheard(row, int(self.generation[row]), 0.0))


def _rows(mask: NDArray[np.bool_]) -> Iterator[int]:
    return (int(row) for row in np.nonzero(mask)[0])

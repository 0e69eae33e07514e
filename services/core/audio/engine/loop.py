"""The beat: every 20 ms, commands, what has come, what is heard, what is sent, what is told."""

from __future__ import annotations

import gc
import select
import socket
import time
from collections import deque

import msgspec
import numpy as np

from services.core.audio import wire
from services.core.audio.board import (
    BUCKET,
    BUSY,
    FRAMES,
    LATENESS,
    PACKETS_IN,
    PACKETS_OUT,
    SKIPPED,
)
from services.core.audio.engine.legs import Legs
from services.core.audio.engine.orders import Orders, Parts
from services.core.audio.engine.peers import Gate
from services.core.audio.engine.receiver import Receiver
from services.core.failover import clock

BEAT = 0.02
BEHIND = 3
"""Frames that are made up for in a burst; after a longer pause they are skipped."""
BUDGET = 0.004
"""Seconds of a beat for commands; more of them wait, sound does not."""
WATCH = 5
"""Beats between looks at what need not be looked at in each."""
LARGEST = 1 << 16
IDLE = 1.0


class Loop:
    """`run` returns when the other side of ``control`` is closed."""

    def __init__(self, control: socket.socket, legs: Legs, gates: list[Gate], parts: Parts) -> None:
        self._control = control
        self._legs = legs
        self._players = parts.players
        self._rooms = parts.rooms
        self._recorder = parts.recorder
        self._hearing = parts.hearing
        self._sender = parts.sender
        self._output = parts.output
        self._reports = parts.reports
        self._receiver = Receiver(
            legs, gates, parts.family, self._hearing.put, self._hearing.comfort, parts.reports
        )
        self._orders = Orders(legs, gates, parts)
        self._tick = 0
        self._decoder = msgspec.msgpack.Decoder(wire.Command)
        self._encoder = msgspec.msgpack.Encoder()
        self._outgoing: deque[bytes] = deque()

    def run(self) -> None:
        """Beat until the service is gone."""
        gc.freeze()
        gc.disable()  # a collection takes longer than sound can wait; nothing here is cyclic
        due = time.monotonic()
        while True:
            now = time.monotonic()
            behind = int((now - due) / BEAT)
            if behind > BEHIND:
                self._skip(behind)
                due += behind * BEAT
            if not self._beat(now - due):
                break
            due += BEAT
            wait = due - time.monotonic()
            if not self._legs.open.any():
                select.select([self._control], [], [], IDLE)
                due = time.monotonic()
            elif wait > 0:
                time.sleep(wait)
        self._recorder.close()
        self._record()
        self._control.setblocking(True)
        self._tell()

    def _skip(self, frames: int) -> None:
        self._tick += frames
        self._sender.skip(frames)
        self._legs.board.counters[SKIPPED] += frames

    def _beat(self, late: float) -> bool:
        legs, board = self._legs, self._legs.board
        start = time.monotonic()
        if not self._commands(start + BUDGET):
            return False
        if legs.changed:
            self._refresh()
        if self._players.changed:
            self._players.refresh()
            self._output.refresh()
        came = self._receiver.step(self._tick)
        self._hearing.step(self._tick)
        self._mix()
        self._record()
        self._output.step(self._tick)
        sent = self._send()
        if self._tick % WATCH == 0:
            legs.watch(self._tick)
            legs.show()
            self._reports.receive()
            self._hearing.show()
        self._tell()
        self._tick += 1
        if legs.open.any():
            board.lateness[min(int(max(late, 0.0) / BUCKET), LATENESS - 1)] += 1
            board.counters[FRAMES] += 1
        board.counters[BUSY] += time.monotonic() - start
        board.counters[PACKETS_IN] += came
        board.counters[PACKETS_OUT] += sent
        return True

    def _send(self) -> int:
        until = float(self._legs.board.until[0])
        if until and clock.now() > until:
            self._sender.skip(1)
            return 0
        self._reports.step(self._tick)
        return self._sender.step()

    def _refresh(self) -> None:
        legs = self._legs
        legs.changed = False
        wanted = legs.in_band | legs.watched | (self._rooms.room >= 0)
        recorded = self._recorder.rows()
        wanted[recorded[recorded < legs.capacity]] = True
        wanted &= legs.open & legs.connected & legs.receiving
        if self._rooms.changed or not np.array_equal(wanted, legs.listened):
            self._rooms.refresh(wanted)
        legs.listened = wanted
        self._hearing.refresh()
        self._sender.refresh()
        self._players.changed = True

    def _mix(self) -> None:
        hearing, rooms = self._hearing, self._rooms
        rooms.step(hearing.sound, hearing.index, hearing.level)
        playing = self._players.rooms_now()
        if len(playing):
            rooms.totals[playing] += self._players.room_frames(playing).astype(np.int32)

    def _record(self) -> None:
        rows = self._recorder.rows()
        if len(rows):
            legs, hearing = self._legs, self._hearing
            of_rooms = np.searchsorted(rows, legs.capacity)
            some, rooms = rows[:of_rooms], rows[of_rooms:] - legs.capacity
            mixed = np.clip(self._rooms.totals[rooms], -32768, 32767).astype(np.int16)
            sound = np.concatenate([hearing.sound[hearing.index[some]], mixed])
            speaking = hearing.speech.speaking[some]
            speaking = np.concatenate([speaking, np.ones(len(rooms), bool)])
            self._recorder.step(sound, speaking)
        for outcome in self._recorder.outcomes():
            self._legs.notices.append(wire.Recorded(*outcome))
            self._legs.changed = True

    def _commands(self, until: float) -> bool:
        """Carry out what has been asked for; False if nobody will ask any more."""
        while time.monotonic() < until:
            try:
                message = self._control.recv(LARGEST, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            if not message:
                return False
            self._orders.do(self._decoder.decode(message), self._tick)
        return True

    def _tell(self) -> None:
        """Hand over the notices of this beat; a service that is slow gets them later."""
        notices = self._legs.notices
        for at in range(0, len(notices), 500):
            self._outgoing.append(self._encoder.encode(notices[at : at + 500]))
        notices.clear()
        while self._outgoing:
            try:
                self._control.send(self._outgoing[0], socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except ConnectionError:
                return  # `_commands` sees it too
            self._outgoing.popleft()

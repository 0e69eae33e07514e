"""Carries out what the service asks for, between two beats."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from services.core.audio import wire
from services.core.audio.engine.hearing import Hearing
from services.core.audio.engine.legs import Legs
from services.core.audio.engine.output import Output
from services.core.audio.engine.peers import Gate
from services.core.audio.engine.players import Players
from services.core.audio.engine.recorder import Recorder
from services.core.audio.engine.reports import Reports
from services.core.audio.engine.rooms import Rooms
from services.core.audio.engine.sender import Sender


class Parts(NamedTuple):
    """What the plane is made of, beside its legs."""

    players: Players
    rooms: Rooms
    recorder: Recorder
    hearing: Hearing
    sender: Sender
    output: Output
    reports: Reports
    family: int


class Orders:
    """`do` does what a command says."""

    def __init__(self, legs: Legs, gates: list[Gate], parts: Parts) -> None:
        self._legs = legs
        self._gates = gates
        self._parts = parts
        self._random = np.random.default_rng()

    def do(self, command: wire.Command, tick: int) -> None:
        """Carry out a command; those that name what is over do nothing."""
        legs, parts = self._legs, self._parts
        match command:
            case wire.Open(row=row):
                legs.begin(command, tick, self._random)
                parts.hearing.forget(row)
                parts.output.forget(row)
                parts.rooms.muted[row] = parts.rooms.deaf[row] = False
            case wire.Connect():
                self._connect(command, tick)
            case wire.Close(row=row):
                self._close(row)
            case wire.Play():
                parts.players.play(command)
            case wire.Stop(row=row, playback=playback):
                parts.players.stop(row, playback)
            case wire.SendKeys():
                parts.sender.press(command)
            case wire.Record():
                parts.recorder.begin(command)
                legs.changed = True
            case wire.StopRecord(row=row, recording=recording):
                parts.recorder.stop(row, recording)
            case wire.Tune(row=row):
                parts.rooms.changed |= parts.rooms.muted[row] != command.muted
                legs.changed = True
                legs.watched[row], legs.comfort[row] = command.watched, command.comfort
                parts.rooms.muted[row], parts.rooms.deaf[row] = command.muted, command.deaf
            case wire.OpenRoom(row=row):
                legs.board.generation[row] = command.generation
                parts.rooms.open(row - legs.capacity, command.speakers)
            case wire.CloseRoom(row=row):
                parts.players.close(row)
                parts.recorder.end(row, "closed")
                parts.rooms.close(row - legs.capacity)
                legs.changed = True
            case wire.Join(row=row, room=room):
                if room < 0:
                    parts.rooms.leave(row)
                else:
                    parts.rooms.join(room - legs.capacity, row)
                legs.changed = True

    def _connect(self, command: wire.Connect, tick: int) -> None:
        row = command.row
        gate = self._gates[int(self._legs.gate[row])]
        gate.peers.set(row, command.peer)
        gate.control_peers.set(row, command.control)
        self._legs.connect(command, tick)
        self._parts.sender.connect(command)
        self._parts.reports.connect(row, command.control, command.control == command.peer)

    def _close(self, row: int) -> None:
        parts = self._parts
        gate = self._gates[int(self._legs.gate[row])]
        gate.peers.set(row, b"")
        gate.control_peers.set(row, b"")
        parts.players.close(row)
        parts.recorder.end(row, "closed")
        parts.rooms.leave(row)
        parts.sender.close(row)
        self._legs.close(row)

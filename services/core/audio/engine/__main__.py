"""The plane's process; started by `services.core.audio.AudioPlane`, and by nobody else."""

from __future__ import annotations

import logging
import mmap
import os
import signal
import socket
import sys

import msgspec

from services.core.audio import wire
from services.core.audio.arena import Layout
from services.core.audio.board import Board, size
from services.core.audio.engine.hearing import Hearing
from services.core.audio.engine.legs import Legs
from services.core.audio.engine.loop import Loop
from services.core.audio.engine.orders import Parts
from services.core.audio.engine.output import Output
from services.core.audio.engine.peers import Gate, Peers
from services.core.audio.engine.players import Players
from services.core.audio.engine.recorder import Recorder
from services.core.audio.engine.reports import Reports
from services.core.audio.engine.rooms import Rooms
from services.core.audio.engine.sender import Sender
from services.core.failover.priority import hurry

SWITCH = 0.0005
"""Seconds that the recorder may keep the interpreter from the loop."""


def main() -> None:
    """Ends when the service does, and with it only: signals are for the service."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, format="audio: %(message)s")
    start = msgspec.json.decode(sys.argv[1], type=wire.Start)
    slots = start.capacity + start.rooms
    board = Board(slots, mmap.mmap(start.board, size(slots)))
    layout = Layout(start.arena_frames, start.rate)
    arena = mmap.mmap(start.arena, layout.size, prot=mmap.PROT_READ)
    for descriptor in (start.board, start.arena):
        os.close(descriptor)
    wide = start.family == socket.AF_INET6
    gates = [Gate(rtp, rtcp, Peers(wide), Peers(wide)) for rtp, rtcp in start.gates]
    notices: list[wire.Notice] = [wire.Ready()]
    legs = Legs(start.capacity, board, notices)
    players = Players(legs, start.rooms, arena, layout)
    rooms = Rooms(start.capacity, start.rooms, start.rate // 50)
    hearing = Hearing(legs, start.rate)
    sender = Sender(legs, gates, start.family)
    output = Output(legs, players, sender, rooms, hearing, start.rate)
    recorder = Recorder(start.rate // 50)
    reports = Reports(legs, gates, start.family, start.cname)
    parts = Parts(players, rooms, recorder, hearing, sender, output, reports, start.family)
    sys.setswitchinterval(SWITCH)
    hurry("sound may break off under heavy load")
    Loop(socket.socket(fileno=start.control), legs, gates, parts).run()


if __name__ == "__main__":
    main()

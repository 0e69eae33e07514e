"""Carry frames between two interfaces, each after a delay: relay.py ONE OTHER DELAY JITTER.

Frames keep their order. They are read and written with the kernel's own header (PACKET_VNET_HDR),
so that checksums which are still to be made and large segments pass unchanged.
"""

from __future__ import annotations

import collections
import random
import select
import socket
import sys
import time

SOL_PACKET, PACKET_IGNORE_OUTGOING, PACKET_VNET_HDR = 263, 23, 15
ETH_P_ALL = 3
LARGEST = 10 + 14 + 4 + 65536

Queue = collections.deque[tuple[float, bytes]]


def opened(interface: str) -> socket.socket:
    """A packet socket on an interface that sees what comes in, not what it sends itself."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    made.bind((interface, ETH_P_ALL))
    made.setblocking(False)
    return made


def read(source: socket.socket, queue: Queue, delay: float, jitter: float) -> None:
    """Everything that is there, with the time at which it is due."""
    while True:
        try:
            frame = source.recv(LARGEST)
        except BlockingIOError:
            return
        due = time.monotonic() + delay + random.uniform(-jitter, jitter)  # noqa: S311 - no secret
        queue.append((max(due, queue[-1][0]) if queue else due, frame))


def write(target: socket.socket, queue: Queue) -> None:
    """Everything that is due."""
    while queue and queue[0][0] <= time.monotonic():
        try:
            target.send(queue.popleft()[1])
        except OSError:
            continue  # a full queue or a cable that is down loses frames, as a network does


def main(one: str, other: str, delay: float, jitter: float) -> None:
    ends = opened(one), opened(other)
    ways: list[tuple[socket.socket, Queue, socket.socket]] = [
        (ends[0], collections.deque(), ends[1]),
        (ends[1], collections.deque(), ends[0]),
    ]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        due = [queue[0][0] for _, queue, _ in ways if queue]
        wait = max(0.0, min(due) - time.monotonic()) if due else None
        select.select(ends, [], [], wait)
        for source, queue, target in ways:
            read(source, queue, delay, jitter)
            write(target, queue)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))

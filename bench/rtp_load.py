"""Many phones in one process, for benchmarks: they speak, and look at what comes when.

`python -m bench.rtp_load` reads a `Work` as JSON and answers a `Done` a work. All phones share a
port; each has a loopback address of its own (127.0.0.0/8 is all ours), so that one socket sends and
takes for all of them, many datagrams a system call.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
import time
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.core.audio import g711
from services.core.audio.batch import IOVEC, MMSGHDR, MSG_DONTWAIT, SO_TIMESTAMPNS, pointers
from services.core.failover.priority import hurry

FRAME = 160
SLOTS = 10
"""Parts of 20 ms in which phones speak: they have not all begun at the same moment."""
IP_PKTINFO = 8
CONTROL = 64
BUCKET = 0.0005
BUCKETS = 400
ROUNDS = 2
_libc = ctypes.CDLL(None, use_errno=True)


class Work(msgspec.Struct):
    """``phones``: own address, and where it sends to."""

    port: int
    phones: list[tuple[str, str, int]]
    seconds: float
    warm_up: float


class Done(msgspec.Struct):
    """``received``: packets a second and phone, the least and the mean of all phones. ``gap``: the
    99th percentile of how far from 20 ms after the last one a packet came, in seconds."""

    sent: float
    least: float
    mean: float
    gap: float


def speech(frames: int) -> NDArray[np.uint8]:
    """Frames of something like speech: noise in syllables."""
    rng = np.random.default_rng(711)
    points = np.arange(0, frames * FRAME + 1000, 1000)
    loud = np.interp(np.arange(frames * FRAME), points, rng.uniform(0.1, 1, len(points)))
    sound = rng.normal(0, 2500, frames * FRAME) * loud
    return g711.encode(np.clip(sound, -32000, 32000).astype(np.int16), "PCMU").reshape(-1, FRAME)


class Phones:
    """All phones of one work."""

    def __init__(self, work: Work) -> None:
        n = self.count = len(work.phones)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (33, 32):  # SO_RCVBUFFORCE, SO_SNDBUFFORCE
            self.socket.setsockopt(socket.SOL_SOCKET, option, 64 << 20)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        self.socket.bind(("0.0.0.0", work.port))
        self._speech = speech(200)
        self._offset = np.arange(n) * 7
        self.out = self._headers(n, 12, 2)
        heads, iov, addresses, control = self._buffers
        self._heads = heads
        self._payload = iov["base"].reshape(n, 2)[:, 1]
        iov["len"].reshape(n, 2)[:, 1] = FRAME
        heads[:, 0] = 0x80
        heads[:, 8:12] = np.arange(n, dtype=">u4").view(np.uint8).reshape(n, 4)
        for row, (own, host, port) in enumerate(work.phones):
            raw = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port)
            addresses[row, :8] = np.frombuffer(raw + socket.inet_aton(host), np.uint8)
            info = struct.pack("=QiiI4s4s", 28, socket.IPPROTO_IP, IP_PKTINFO, 0,
                               socket.inet_aton(own), bytes(4))  # fmt: skip
            control[row, :28] = np.frombuffer(info, np.uint8)
        self.out["controllen"] = 32
        self._keep = [heads, iov, addresses, control]
        self._row = {socket.inet_aton(own): row for row, (own, _, _) in enumerate(work.phones)}
        own = np.array([int.from_bytes(raw) for raw in self._row], np.int64)
        self._order = np.argsort(own)
        self._own = own[self._order]
        self._in = self._headers(4096, 256, 1)
        self._taken = self._buffers[3]
        self._keep += self._buffers
        self.received = np.zeros(n, np.int64)
        self._last = np.zeros(n)
        self.gaps = np.zeros(BUCKETS, np.int64)
        self.sent = 0

    def _headers(self, n: int, size: int, parts: int) -> NDArray[Any]:
        data = np.zeros((n, size), np.uint8)
        iov = np.zeros(n * parts, IOVEC)
        iov["base"][::parts], iov["len"][::parts] = pointers(data), size
        addresses, control = np.zeros((n, 16), np.uint8), np.zeros((n, CONTROL), np.uint8)
        headers = np.zeros(n, MMSGHDR)
        headers["name"], headers["namelen"] = pointers(addresses), 16
        headers["iov"], headers["iovlen"] = pointers(iov)[::parts], parts
        headers["control"], headers["controllen"] = pointers(control), CONTROL
        self._buffers = data, iov, addresses, control
        return headers

    def send(self, beat: int, slot: int) -> None:
        rows = np.arange(slot, self.count, SLOTS)
        if not len(rows):
            return
        self._heads[rows, 2] = beat >> 8 & 255
        self._heads[rows, 3] = beat & 255
        stamp = np.array([beat * FRAME & 0xFFFFFFFF], ">u4").view(np.uint8)
        self._heads[rows, 4:8] = stamp
        frame = (beat + self._offset[rows]) % len(self._speech)
        self._payload[rows] = pointers(self._speech)[frame]
        headers = np.ascontiguousarray(self.out[rows])
        at = 0
        while at < len(headers):
            pointer = ctypes.c_void_p(headers.ctypes.data + MMSGHDR.itemsize * at)
            done = _libc.sendmmsg(self.socket.fileno(), pointer, len(headers) - at, MSG_DONTWAIT)
            if done <= 0:
                break
            at += done
        self.sent += at

    def receive(self) -> None:
        """What has come, but no more than lets `send` be in time: the rest waits in the kernel."""
        for _ in range(ROUNDS):
            self._in["controllen"] = CONTROL
            self._in["namelen"] = 16
            pointer = ctypes.c_void_p(self._in.ctypes.data)
            got = _libc.recvmmsg(self.socket.fileno(), pointer, len(self._in), MSG_DONTWAIT, None)
            if got <= 0:
                return
            control = self._taken[:got]
            times = control.view(np.int64)
            arrived = times[:, 2] + times[:, 3] * 1e-9
            to = control[:, 56:60].copy().view(">u4")[:, 0].astype(np.int64)
            rows = self._order[np.minimum(np.searchsorted(self._own, to), self.count - 1)]
            np.add.at(self.received, rows, 1)
            gap = np.abs(arrived - self._last[rows] - 0.02)
            self._last[rows] = arrived
            bucket = np.minimum((gap / BUCKET).astype(np.int64), BUCKETS - 1)
            self.gaps += np.bincount(bucket, minlength=BUCKETS)
            if got < len(self._in):
                return

    def clear(self) -> None:
        self.received[:] = 0
        self.gaps[:] = 0
        self.sent = 0


def run(work: Work) -> Done:
    phones = Phones(work)
    start = measured = time.monotonic()
    warm = False
    step = 0
    while True:
        now = time.monotonic()
        if not warm and now - start >= work.warm_up:
            phones.receive()
            phones.clear()
            warm, measured = True, now
        if warm and now - measured >= work.seconds:
            break
        phones.send(step // SLOTS, step % SLOTS)
        phones.receive()
        step += 1
        wait = start + step * 0.02 / SLOTS - time.monotonic()
        if wait > 0:
            time.sleep(wait)
    seconds = time.monotonic() - measured
    phones.socket.close()
    total = np.cumsum(phones.gaps)
    return Done(
        sent=phones.sent / phones.count / seconds,
        least=float(phones.received.min() / seconds),
        mean=float(phones.received.mean() / seconds),
        gap=float((np.searchsorted(total, 0.99 * total[-1]) + 1) * BUCKET),
    )


def main() -> None:
    hurry("phones may not speak in time")
    for line in sys.stdin.buffer:
        done = run(msgspec.json.decode(line, type=Work))
        sys.stdout.buffer.write(msgspec.json.encode(done) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

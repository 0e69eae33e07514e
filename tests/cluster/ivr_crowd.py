"""A thousand callers at a menu, each with a port of its own, on a host of a lab.

python -m tests.cluster.ivr_crowd <address> <URI> <callers> [--direct] [--listeners N] [--pace S]

Prints ``up`` when all are at the menu, and at SIGTERM a `Report`, and hangs up. Of `SAMPLE` of
those who listen it is noted when their packets come; with ``--listeners`` the others have put the
menu on hold and get none. ``--pace`` is the pause in s before each call. ``--direct``: the URI is
an IVR server's, and the calls have the passports that a Call Manager would give them.
"""

from __future__ import annotations

import argparse
import random
import resource
import secrets
import selectors
import signal
import socket
import sys
import threading
import time

import msgspec
import trio

from services.core.sip import Call, CallEndedError, UserAgent, sdp
from tests.cluster.ivr_phone import KEY
from tests.support.ivr_phone import invited

SAMPLE = 200
FIRST_PORT = 20_000
AT_ONCE = 20
"""Calls that are set up at a time."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """``gaps``: the longest pause between two packets, in seconds, of each caller sampled.

    ``moved`` of the calls were told that they go on elsewhere; ``lost`` ended by themselves.
    """

    gaps: list[float]
    moved: int
    lost: int


class Crowd:
    """The callers. ``up`` counts those at the menu."""

    def __init__(
        self, agent: UserAgent, uri: str, callers: int, listeners: int, *, direct: bool
    ) -> None:
        self._agent = agent
        self._uri = uri
        self._callers = callers
        self._listeners = listeners
        self._direct = direct
        self._moved: set[str] = set()
        self._over = trio.Event()
        self._room = trio.CapacityLimiter(AT_ONCE)
        self._ears: list[socket.socket] = []
        self.up = 0
        self.lost = 0

    def listen(self) -> None:
        """Have the ports."""
        for n in range(self._callers):
            ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            ear.bind((self._agent.address, FIRST_PORT + 2 * n))
            ear.setblocking(False)
            self._ears.append(ear)

    async def call(self, number: int) -> None:
        """One caller, from the INVITE until all hang up."""
        call_id = f"{secrets.token_hex(8)}@{self._agent.address}"
        held: sdp.Direction = "sendrecv" if number < self._listeners else "inactive"
        port = FIRST_PORT + 2 * number
        here = sdp.offer(self._agent.address, port, (sdp.PCMA,), held)
        headers = [invited(KEY, call_id)] if self._direct else []
        await self._room.acquire_on_behalf_of(number)
        try:
            async with self._agent.dial(
                self._uri, here, call_id=call_id, headers=headers, cancel_on_end=False
            ) as call:
                self._room.release_on_behalf_of(number)
                await self._stay(call, port, held)
        except CallEndedError:
            self.lost += 1

    async def _stay(self, call: Call, port: int, held: sdp.Direction) -> None:
        def answer(offer: str) -> str:
            self._moved.add(call.call_id)
            return sdp.answer(offer, self._agent.address, port, (sdp.PCMA,), held)[0]

        call.answers = answer
        self.up += 1
        await self._over.wait()
        self.lost += call.ended is not None

    def report(self, gaps: list[float]) -> Report:
        """And everybody hangs up."""
        self._over.set()
        return Report(gaps=gaps, moved=len(self._moved), lost=self.lost)

    def sampled(self) -> list[socket.socket]:
        """Some listeners' ports."""
        return random.sample(self._ears[: self._listeners], min(SAMPLE, self._listeners))


class Listener(threading.Thread):
    """Reads some ports until told to stop: a thread, so that calls do not delay it."""

    def __init__(self, ears: list[socket.socket]) -> None:
        super().__init__(daemon=True)
        self._selector = selectors.EpollSelector()
        for number, ear in enumerate(ears):
            self._selector.register(ear, selectors.EVENT_READ, number)
        now = time.monotonic()
        self._last = [now] * len(ears)
        self._gaps = [0.0] * len(ears)
        self._stopping = False

    def run(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.recv(2048)
                self._heard(key.data, time.monotonic())

    def _heard(self, number: int, now: float) -> None:
        self._gaps[number] = max(self._gaps[number], now - self._last[number])
        self._last[number] = now

    def stop(self) -> list[float]:
        """The longest pauses; the one that lasts counts, too."""
        self._stopping = True
        self.join()
        for number in range(len(self._gaps)):
            self._heard(number, time.monotonic())
        return self._gaps


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(given: argparse.Namespace) -> None:
    async with (
        UserAgent(given.address, 5060, name="crowd") as agent,
        trio.open_nursery() as nursery,
    ):
        listeners = given.callers if given.listeners is None else given.listeners
        crowd = Crowd(agent, given.uri, given.callers, listeners, direct=given.direct)
        crowd.listen()
        for number in range(given.callers):
            nursery.start_soon(crowd.call, number)
            await trio.sleep(given.pace)
        with trio.fail_after(60):
            while crowd.up < given.callers:  # noqa: ASYNC110 - a thousand, each after its own answer
                await trio.sleep(0.05)
        listener = Listener(crowd.sampled())
        listener.start()
        _say("up")
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            await anext(signals)
        report = crowd.report(listener.stop())
        _say(msgspec.json.encode(report).decode())


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("uri")
    parser.add_argument("callers", type=int)
    parser.add_argument("--direct", action="store_true")
    parser.add_argument("--listeners", type=int)
    parser.add_argument("--pace", type=float, default=0.0)
    trio.run(main, parser.parse_args())

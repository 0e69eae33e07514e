"""A media server fails while phones talk through it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import trio

from tests.cluster.chaos.figures import Outcome, Trial
from tests.cluster.lab import Host, Lab
from tests.cluster.measure import Asked, Watch
from tests.cluster.media_fleet import Fleet
from tests.cluster.rtp import FRAME, Call, Talking
from tests.cluster.test_media_failover import calls_on, held_by, talk_on

MEND = 90.0
Mend = Callable[[], object]


class Pinged(Watch):
    """As `Watch` for an address on which nobody speaks SIP: echo takes its place."""

    def _sip(self, observer: Host, address: str) -> Asked:
        return self._ping(observer, address)


@asynccontextmanager
async def pinged(
    network: Lab, address: str, *, observer: Host, hosts: Iterable[Host]
) -> AsyncIterator[Pinged]:
    watch = Pinged(network, address, observer, hosts)
    try:
        yield watch
    finally:
        await trio.to_thread.run_sync(watch.close)


def _off(fleet: Fleet, watch: Watch) -> Mend:
    host = fleet.servers["ms1"]
    watch.power_off(host)
    return lambda: watch.power_on(host)


def _killed(program: str) -> Callable[[Fleet, Watch], Mend]:
    def fail(fleet: Fleet, watch: Watch) -> Mend:
        os.kill(fleet.pid("ms1", program), signal.SIGKILL)
        return lambda: None

    return fail


def _hung(program: str) -> Callable[[Fleet, Watch], Mend]:
    def fail(fleet: Fleet, watch: Watch) -> Mend:
        pid = fleet.pid("ms1", program)
        os.kill(pid, signal.SIGSTOP)
        return lambda: os.kill(pid, signal.SIGCONT)

    return fail


FAILURES = {
    "media host off": _off,
    "rtpengine killed": _killed("rtpengine"),
    "rtpengine hung": _hung("rtpengine"),
}
BACK = "media given back"
"""After each of them: the server is well again and has its own address back."""


class Trials:
    """A fleet on which media servers fail, again and again."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    async def trial(self, what: str) -> list[Trial]:
        """One failure, and all well again."""
        fleet = self.fleet
        await fleet.at_home()
        with Talking() as talking:
            calls = await calls_on(fleet, talking, "ms1")
            async with pinged(
                fleet.network,
                fleet.address("ms1"),
                observer=fleet.phones,
                hosts=fleet.servers.values(),
            ) as watch:
                await watch.settled()
                began = time.monotonic()
                mend = FAILURES[what](fleet, watch)
                try:
                    await held_by(fleet, "ms1", "ms2")
                    away = await _seen(fleet, calls, began)
                finally:
                    mend()
                doubled = watch.doubled
                began = time.monotonic()
                await fleet.at_home()
                home = await _seen(fleet, calls, began)
                both = watch.doubled
            for call in calls:
                call.control = fleet.control("ms1")
                call.end()
            await fleet.copied("ms2", 0)
        back = max(0.0, both - doubled)
        return [
            Trial(failure=what, gap=away[0], doubled=doubled, calls=away[1]),
            Trial(failure=BACK, gap=home[0], doubled=back, calls=home[1]),
        ]

    async def mend(self) -> None:
        """After a trial that broke off: everything runs, and what is left of its calls ends."""
        for host in self.fleet.servers.values():
            host.resume()
            host.power_on()
        with trio.move_on_after(MEND):
            await self.fleet.at_home()
            return
        raise AssertionError(f"the media servers are not well again within {MEND:g} s")


async def _seen(fleet: Fleet, calls: list[Call], since: float) -> tuple[float, tuple[Outcome, ...]]:
    """The longest silence that anybody heard, and which calls go on."""
    with suppress(AssertionError):  # which of them do not is said below
        await talk_on(calls, fleet.network.logs)
    now = time.monotonic()
    gap = max(side.gap for call in calls for side in call.heard(since, now))
    outcomes: list[Outcome] = []
    for number, call in enumerate(calls):
        silent = any(side.received == 0 for side in call.heard(now - 1.5, now))
        kind = "media, SRTP" if number % 2 else "media, RTP"
        outcomes.append(Outcome(kind=kind, lost="silence" if silent else ""))
    return gap - FRAME, tuple(outcomes)

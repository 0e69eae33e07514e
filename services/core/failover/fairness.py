"""Time as ordinary work has it: what a starved machine takes from a process is not its fault.

A process that waits for a processor is late as one that hangs is, but it is well, and the next
host may be no better off. So who is judged by how late it answers is judged by `FairTime`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

from services.core.failover.clock import now
from services.core.failover.priority import favour

PERIOD = 0.02
"""Seconds that the yardstick sleeps at a time."""
MOST = 0.03
"""What one such sleep counts at most: as long as a sleep takes where nothing is short."""


class FairTime:
    """A clock that goes on while ordinary threads run, and stops while they wait. Pure.

    ``woke`` is said by a thread with the priority of who is judged, whenever it has slept `PERIOD`.
    """

    def __init__(self, now: float) -> None:
        self._woke = now
        self._passed = 0.0

    def woke(self, now: float) -> None:
        self._passed, self._woke = self.read(now), now

    def read(self, now: float) -> float:
        """Seconds. Never goes back, and is never faster than ``now``."""
        return self._passed + min(max(0.0, now - self._woke), MOST)


class Patience:
    """Whether somebody who answers questions is well. Pure; times are of one clock.

    ``fair`` seconds without an answer are too many by `FairTime`, ``longest`` by any: whoever is
    starved for so long is of no use either.
    """

    def __init__(self, clock: FairTime, fair: float, longest: float) -> None:
        self._clock = clock
        self._fair = fair
        self._longest = longest
        self._answered = self._fairly = float("-inf")

    def answered(self, now: float) -> None:
        self._answered, self._fairly = now, self._clock.read(now)

    def refused(self) -> None:
        """There is certainly nobody."""
        self._answered = float("-inf")

    def lasts(self, now: float) -> bool:
        """Whether the last answer is recent enough."""
        silent = now - self._answered
        return silent < self._longest and self._clock.read(now) - self._fairly < self._fair


@contextmanager
def yardstick() -> Generator[FairTime]:
    """A `FairTime`, and while it is used the thread that it goes by."""
    clock = FairTime(now())
    over = threading.Event()

    def run() -> None:
        favour()
        while not over.is_set():
            # Not on the event: that would ask for more of Python than the sleep of a process does.
            time.sleep(PERIOD)
            clock.woke(now())

    thread = threading.Thread(target=run, name="yardstick", daemon=True)
    thread.start()
    try:
        yield clock
    finally:
        over.set()

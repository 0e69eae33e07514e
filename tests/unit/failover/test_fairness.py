"""A Kamailio that hangs is told from one that the machine does not let run."""

from __future__ import annotations

import heapq
import random
import time

from hypothesis import given
from hypothesis import strategies as st

from services.core.failover.clock import now
from services.core.failover.fairness import MOST, PERIOD, FairTime, Patience, yardstick
from services.core.failover.timing import LONGEST, PATIENCE, PROBE


class Machine:
    """Asks every `PROBE`, as the agent does with real-time priority. Answers and the yardstick wait
    for a processor, for up to ``starved`` seconds each; a Kamailio that ``hangs`` does not answer.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a simulation
        self.now = 100.0
        self.starved = 0.0
        self.hangs = False
        self.clock = FairTime(self.now)
        self.patience = Patience(self.clock, PATIENCE, LONGEST)
        self.ill_since: float | None = None
        self._free = self.now
        self._events: list[tuple[float, int, str]] = []
        self._count = 0
        self._at(0.0, "ask")
        self._at(PERIOD, "wake")
        self.patience.answered(self.now)

    def _at(self, delay: float, what: str) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, what))

    def _runs(self) -> float:
        """Seconds until ordinary work runs: all of it waits for the same processors."""
        if self._free <= self.now:
            self._free = self.now + self.random.uniform(0, self.starved)
        return self._free - self.now + 0.0005

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events[0][0] <= end:
            self.now, _, what = heapq.heappop(self._events)
            if what == "ask":
                self._at(PROBE, "ask")
                self._at(self._runs(), "answer")
            elif what == "answer":
                if not self.hangs:
                    self.patience.answered(self.now)
            elif what == "wake":
                self._at(self._runs(), "woken")
            else:
                self.clock.woke(self.now)
                self._at(PERIOD, "wake")
            if self.ill_since is None and not self.patience.lasts(self.now):
                self.ill_since = self.now


@given(seed=st.integers(0, 2**32), starved=st.floats(0, 0.8))
def test_a_starved_machine_is_not_taken_for_a_hung_kamailio(seed: int, starved: float) -> None:
    machine = Machine(seed)
    machine.starved = starved
    machine.run(20)
    assert machine.ill_since is None


@given(seed=st.integers(0, 2**32), starved=st.floats(0, 0.01))
def test_one_that_hangs_is_found_at_once(seed: int, starved: float) -> None:
    machine = Machine(seed)
    machine.starved = starved
    machine.run(3)
    assert machine.ill_since is None
    began, machine.hangs = machine.now, True
    machine.run(2)
    assert machine.ill_since is not None
    assert machine.ill_since - began < PATIENCE + 0.05


@given(seed=st.integers(0, 2**32), starved=st.floats(0, 5))
def test_one_that_hangs_is_found_on_any_machine(seed: int, starved: float) -> None:
    machine = Machine(seed)
    machine.starved = starved
    machine.run(3)
    began, machine.hangs = machine.now, True
    machine.run(LONGEST + 6)
    assert machine.ill_since is not None
    assert machine.ill_since - began < LONGEST + 5


@given(st.lists(st.floats(0, 2), max_size=50))
def test_fair_time_never_goes_back_and_is_never_fast(sleeps: list[float]) -> None:
    clock = FairTime(0.0)
    moment, before = 0.0, 0.0
    for sleep in sleeps:
        later = moment + sleep
        assert before <= clock.read(later) <= before + min(sleep, MOST) + 1e-9
        clock.woke(later)
        before, moment = clock.read(later), later


def test_nobody_there_is_ill_at_once() -> None:
    patience = Patience(FairTime(0.0), PATIENCE, LONGEST)
    assert not patience.lasts(0.0)
    patience.answered(1.0)
    assert patience.lasts(1.0)
    patience.refused()
    assert not patience.lasts(1.0)


def test_the_yardstick_goes_with_the_clock() -> None:
    with yardstick() as clock:
        deadline = time.monotonic() + 30
        while clock.read(now()) < 0.5:
            assert time.monotonic() < deadline, "it stands still"
            time.sleep(0.01)

"""The restart policy, as Nomad's documentation says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pbxctl.engines.local.jobfile import Restart
from pbxctl.engines.local.restart import JITTER, Again, Completed, GaveUp, Tracker

DELAY = Restart(attempts=2, interval=60, delay=5, mode="delay")
FAIL = Restart(attempts=2, interval=60, delay=5, mode="fail")


def test_within_its_attempts_it_starts_again_after_the_delay() -> None:
    tracker, decision = Tracker().ended(FAIL, 100, 0.0, well=False)
    assert decision == Again(5)
    _, decision = tracker.ended(FAIL, 110, 1.0, well=False)
    assert decision == Again(5 * (1 + JITTER))


def test_mode_fail_gives_up() -> None:
    tracker = Tracker()
    for now in (100, 110):
        tracker, decision = tracker.ended(FAIL, now, 0.0, well=False)
        assert isinstance(decision, Again)
    _, decision = tracker.ended(FAIL, 120, 0.0, well=False)
    assert decision == GaveUp("it ended 3 times within 60 s")


def test_mode_delay_waits_for_the_intervals_end() -> None:
    tracker = Tracker()
    for now in (100, 110):
        tracker, _ = tracker.ended(DELAY, now, 0.0, well=False)
    tracker, decision = tracker.ended(DELAY, 120, 0.0, well=False)
    assert decision == Again(40)
    # Then a new interval begins.
    _, decision = tracker.ended(DELAY, 161, 0.0, well=False)
    assert decision == Again(5)


def test_a_service_that_ends_well_runs_again() -> None:
    _, decision = Tracker().ended(FAIL, 0, 0.0, well=True)
    assert decision == Again(5)


def test_what_runs_to_completion_completes() -> None:
    tracker, decision = Tracker().ended(FAIL, 0, 0.0, well=True, to_completion=True)
    assert (tracker, decision) == (Tracker(), Completed())
    _, decision = Tracker().ended(FAIL, 0, 0.0, well=False, to_completion=True)
    assert decision == Again(5)


@given(
    gaps=st.lists(st.floats(0, 200), max_size=60),
    attempts=st.integers(1, 10),
    jitter=st.floats(0, 1),
)
def test_mode_delay_never_starts_more_often_than_its_policy(
    gaps: list[float], attempts: int, jitter: float
) -> None:
    policy = Restart(attempts=attempts, interval=100, delay=1, mode="delay")
    tracker, now = Tracker(), 0.0
    starts: list[float] = []
    for gap in gaps:
        now += gap
        tracker, decision = tracker.ended(policy, now, jitter, well=False)
        assert isinstance(decision, Again)
        assert decision.delay >= policy.delay
        now += decision.delay
        starts.append(now)
    for start in starts:
        # Two intervals may touch: the end of one and the beginning of the next.
        within = [other for other in starts if start <= other < start + policy.interval]
        assert len(within) <= 2 * (attempts + 1)

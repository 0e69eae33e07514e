"""admission.py: who may start a call, and how much is shed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.routing import admission
from services.call_manager.routing.admission import Backlog, Load, Queue


def test_capacity_refuses_new_calls_with_retry_after() -> None:
    assert admission.admit(Load(9, 10), "a", emergency=False) is None
    refusal = admission.admit(Load(10, 10), "a", emergency=False)
    assert refusal is not None
    assert refusal.code == 503
    seconds = int(refusal.headers.removeprefix("Retry-After: "))
    assert 5 <= seconds <= 15


def test_emergency_calls_always_start() -> None:
    load = Load(100, 10, shed=95, within_rate=False)
    assert admission.admit(load, "a", emergency=True) is None


def test_rate() -> None:
    refusal = admission.admit(Load(0, 10, within_rate=False), "a", emergency=False)
    assert refusal is not None
    assert refusal.reason == "Too Many Calls a Second"


@given(st.text(max_size=50), st.integers(0, 95))
def test_a_retransmission_gets_the_same_answer(call_id: str, shed: int) -> None:
    load = Load(0, 0, shed=shed)
    first = admission.admit(load, call_id, emergency=False)
    assert admission.admit(load, call_id, emergency=False) == first


def test_shedding_refuses_about_its_share() -> None:
    load = Load(0, 0, shed=40)
    refused = sum(
        admission.admit(load, f"call-{n}@host", emergency=False) is not None for n in range(2000)
    )
    assert 700 < refused < 900


def test_limit() -> None:
    assert admission.limit(100, 0) == 100
    assert admission.limit(100, 50) == 50
    assert admission.limit(100, 500) == 100
    assert admission.limit(0, 0) == 0


SIZE = 425_984


def run(
    samples: list[tuple[float, int]], backlog: Backlog | None = None, size: int = SIZE
) -> Backlog:
    """Samples of how full the buffer is and how many messages were served since the one before."""
    backlog = backlog or Backlog()
    served = backlog.queues[-1].served if backlog.queues else 0
    for fill, count in samples:
        served += count
        backlog = admission.observe(backlog, Queue(int(fill * size), size, served))
    return backlog


def test_a_burst_is_not_overload() -> None:
    assert run([(fill, 500) for fill in (0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0)]).shed == 0


def test_a_busy_server_that_keeps_up_sheds_nothing() -> None:
    # 60 calls/s: 120 messages each 200 ms, and some wait all the time, 150 ms at most.
    assert run([(0.4, 120)] * 50).shed == 0
    # A busy host: half a second is late, but not overload.
    assert run([(0.4, 40)] * 50).shed == 0


def test_messages_that_wait_longer_than_their_retransmission_are_too_many() -> None:
    # The same queue, and a fifth of the speed.
    assert run([(0.4, 12)] * 9).shed == 0
    assert run([(0.4, 12)] * 12).shed > 0
    # A large buffer may be nearly empty and yet hold a second of messages.
    assert run([(0.05, 30)] * 12, size=8 << 20).shed > 0


def test_the_worse_it_is_the_more_is_shed() -> None:
    little, much = run([(0.9, 500)] * 12).shed, run([(1.0, 500)] * 12).shed
    assert 0 < little < much
    assert run([(0.4, 0)] * 11).shed > run([(0.4, 12)] * 11).shed


def test_a_standing_queue_sheds_more_and_more_and_recovers() -> None:
    backlog, shed = Backlog(), []
    for _ in range(25):
        backlog = run([(1.0, 0)], backlog)
        shed.append(backlog.shed)
    assert shed == sorted(shed)
    assert shed[-1] == 95
    # Three seconds after the queue is empty everybody is let in again.
    assert run([(0.0, 500)] * 15, backlog).shed == 0


def test_a_server_without_load_is_not_judged() -> None:
    assert run([(0.05, 0)] * 20).shed == 0
    assert run([(0.0, 0)] * 20, size=0).shed == 0


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1000)), max_size=60))
def test_shed_stays_a_percentage(samples: list[tuple[float, int]]) -> None:
    backlog = Backlog()
    for sample in samples:
        backlog = run([sample], backlog)
        assert 0 <= backlog.shed <= 95
        assert len(backlog.queues) <= admission.WINDOW

"""Who is down: three misses, two managers, and a while before one is back."""

from __future__ import annotations

from services.core.failover.detection import Detection
from services.core.failover.timing import BACK, SUSPECT, TICK

MS = "media/ms1"


class Run:
    """One manager's detection, with a target that answers or not."""

    def __init__(self, quorum: int = 2) -> None:
        self.detection = Detection("cm1", quorum)
        self.detection.probe([MS], 0.0)
        self.time = 0.0
        self.answers = True
        self.others_say_down = False
        self.down_at: float | None = None

    def run(self, seconds: float) -> None:
        end = self.time + seconds
        while self.time < end - 1e-9:
            if self.others_say_down:
                self.detection.heard("cm2", [MS], self.time)
            for member, sequence in self.detection.tick(self.time):
                if self.answers:
                    assert self.detection.answered(member, sequence, (), self.time + 0.001)
            if self.detection.down and self.down_at is None:
                self.down_at = self.time
            self.time = round(self.time + TICK, 6)


def test_two_managers_make_it_down_within_half_a_second() -> None:
    run = Run()
    run.run(2)
    run.answers, run.others_say_down = False, True
    run.run(1)
    assert run.down_at is not None
    assert SUSPECT - 0.1 <= run.down_at - 2 < 0.5


def test_one_manager_alone_takes_nobody_out() -> None:
    run = Run()
    run.run(1)
    run.answers = False
    run.run(3)
    assert run.detection.missed(run.time) == (MS,)
    assert not run.detection.down


def test_an_old_opinion_counts_no_more() -> None:
    run = Run()
    run.others_say_down = True
    run.run(1)
    run.answers, run.others_say_down = False, False
    run.time += 0.1
    run.run(2)
    assert not run.detection.down


def test_one_lost_answer_is_no_suspicion() -> None:
    run = Run(quorum=1)
    run.run(1)
    run.answers = False
    run.run(0.2)
    run.answers = True
    run.run(2)
    assert run.down_at is None


def test_it_is_back_after_a_while_and_not_at_the_first_answer() -> None:
    run = Run(quorum=1)
    run.answers = False
    run.run(1)
    assert run.detection.down
    run.answers = True
    run.run(BACK - 0.3)
    assert run.detection.down
    run.run(0.6)
    assert not run.detection.down


def test_who_was_away_himself_suspects_nobody() -> None:
    run = Run(quorum=1)
    run.run(1)
    run.time += 5
    run.run(0.3)
    assert run.down_at is None


def test_an_answer_counts_once_and_only_to_an_open_probe() -> None:
    detection = Detection("cm1", 2)
    detection.probe([MS], 0.0)
    ((member, sequence),) = detection.tick(0.0)
    assert detection.answered(member, sequence, (), 0.01)
    assert not detection.answered(member, sequence, (), 0.02)
    assert not detection.answered(member, 999, (), 0.02)
    assert not detection.answered("media/other", sequence, (), 0.02)


def test_a_session_is_silent_though_its_member_answers() -> None:
    run = Run()
    run.run(0.5)
    run.detection.watch([(MS, "old")], run.time)
    run.run(0.6)
    assert run.detection.silent(MS, "old", run.time)
    assert not run.detection.missed(run.time)

"""Results of `make chaos` that add up over several runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.chaos.figures import Outcome, Trial
from tests.cluster.chaos.results import Broke, Came, Results, next_failure


def came(failure: str) -> Came:
    calls = (Outcome(kind="held, UDP", records=1), Outcome(kind="ringing, UDP", lost="no answer"))
    trial = Trial(failure=failure, gap=0.3, doubled=0.0, calls=calls)
    return Came(failure=failure, trials=[trial, trial], seconds=8.0, load=1.5)


def test_what_one_run_found_is_there_in_the_next(tmp_path: Path) -> None:
    first = Results(tmp_path / "results")
    first.add(came("off"))
    first.add(Broke(failure="hung", why="no holder"))
    second = Results(tmp_path / "results")
    assert (second.came, second.broke) == (first.came, first.broke)
    assert len(second.trials) == 2
    second.add(came("off"))
    assert Results(tmp_path / "results").count("off") == 2


def test_without_a_file_nothing_is_kept() -> None:
    found = Results()
    found.add(came("off"))
    assert found.count("off") == 1
    assert Results().count("off") == 0


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "results"
    Results(file).add(came("off"))
    with file.open("a") as stream:
        stream.write('{"type": "trial", "failu\n')
    with pytest.raises(ValueError, match=r"results:2: no result of chaos"):
        Results(file)


def test_failures_take_turns_until_each_has_its_number() -> None:
    found = Results()
    names = ["off", "hung"]
    order: list[str] = []
    found.add(came("off"))
    while name := next_failure(found, names, 3):
        order.append(name)
        found.add(came(name))
    assert order == ["hung", "off", "hung", "off", "hung"]
    assert {name: found.count(name) for name in names} == {"off": 3, "hung": 3}

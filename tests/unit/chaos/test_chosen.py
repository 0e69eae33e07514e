"""Which failures `make chaos` makes."""

from __future__ import annotations

import pytest

from tests.cluster.chaos.__main__ import LABS, chosen, report
from tests.cluster.chaos.figures import Outcome, Trial
from tests.cluster.chaos.results import Broke, Came, Results


def test_all_of_them_without_a_choice() -> None:
    assert [list(names) for _, names in LABS] == [names for _, names in chosen("")]


def test_words_choose_in_every_lab() -> None:
    found = {name for _, names in chosen("Powered Off") for name in names}
    assert found == {"holder powered off", "keepalived, holder powered off"}


def test_words_that_are_in_none_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(SystemExit, match=r"(?s)'power cut'.*agent hung.*rtpengine killed"):
        chosen("power cut")


@pytest.mark.parametrize("markdown", [True, False])
def test_a_report_says_what_broke_off(*, markdown: bool) -> None:
    calls = (Outcome(kind="held, UDP", records=1),)
    trial = Trial(failure="agent hung", gap=0.2, doubled=0.7, calls=calls)
    found = Results()
    found.add(Came(failure="agent hung", trials=[trial], seconds=9.0, load=2.0))
    found.add(Broke(failure="agent killed", why="no holder"))
    said = report(found, markdown=markdown)
    assert "agent hung" in said
    assert "held, UDP" in said
    assert "Broken off: agent killed: no holder" in said

"""When memory counts as grown."""

from __future__ import annotations

import pytest

from tests.cluster.chaos.memory import Use, growth


@pytest.mark.parametrize(
    ("before", "after", "grown"),
    [
        (100, 100, False),
        (100, 90, False),
        (100, 119, False),  # a fifth
        (20, 40, False),  # caches of a small one
        (100, 130, True),
        (1000, 1190, False),
        (1000, 1210, True),
    ],
)
def test_growth(before: float, after: float, *, grown: bool) -> None:
    found = growth(
        {"Kamailio": Use(mebibytes=before, processes=9)},
        {"Kamailio": Use(mebibytes=after, processes=9)},
    )
    assert bool(found) is grown


def test_what_was_not_there_has_not_grown() -> None:
    assert growth({}, {"rtpengine": Use(mebibytes=500, processes=1)}) == []

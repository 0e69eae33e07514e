"""When and how a blocking query is asked again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.discovery.blocking import backoff, is_unborn, next_index, read_timeout


@pytest.mark.parametrize(
    ("asked", "answered", "index"),
    [(0, 5, 5), (5, 9, 9), (5, 5, 5), (9, 5, 0), (0, 0, 1)],
)
def test_the_next_index(asked: int, answered: int, index: int) -> None:
    assert next_index(asked, answered) == index


def test_a_query_counts_as_dead_after_its_wait_and_consuls_own_addition() -> None:
    assert read_timeout(30.0) == 32.0
    assert read_timeout(3.0) == 4.0
    assert read_timeout(600.0) > 600 * (1 + 1 / 16)


@given(failures=st.integers(1, 10_000), jitter=st.floats(0, 1))
def test_backoff_grows_to_a_limit_and_is_spread(failures: int, jitter: float) -> None:
    assert 0.05 <= backoff(failures, jitter) <= 5.0
    assert backoff(failures, 0.0) <= backoff(failures, jitter) <= backoff(failures, 1.0)
    assert backoff(failures, 1.0) <= backoff(failures + 1, 1.0)


@pytest.mark.parametrize(
    ("seen", "answered", "knows_leader", "unborn"),
    [
        (50, 3, False, True),
        (50, 3, True, False),  # restored from an older snapshot: this is the truth now
        (50, 50, False, False),
        (50, 60, False, False),
        (0, 0, False, False),
    ],
)
def test_a_server_with_nothing_in_it_is_not_believed(
    seen: int, answered: int, knows_leader: bool, unborn: bool
) -> None:
    assert is_unborn(seen, answered, knows_leader) == unborn

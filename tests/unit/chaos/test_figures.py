"""Figures of `make chaos`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.chaos.figures import (
    HEAD,
    KIND_HEAD,
    Outcome,
    Trial,
    cells,
    kinds,
    markdown_table,
    percentile,
    rows,
    text_table,
)

OFF, KILLED = "host off", "Kamailio killed"


def trial(gap: float, *calls: Outcome, failure: str = OFF, doubled: float = 0.0) -> Trial:
    return Trial(failure=failure, gap=gap, doubled=doubled, calls=calls)


@pytest.mark.parametrize(
    ("count", "share", "rank"),
    [(1, 0.5, 1), (1, 0.99, 1), (4, 0.5, 2), (5, 0.5, 3), (30, 0.99, 30), (100, 0.99, 99)],
)
def test_percentiles_are_the_nearest_rank(count: int, share: float, rank: int) -> None:
    assert percentile([float(n) for n in range(count, 0, -1)], share) == rank


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 0.0), ([1.0], 1.1)])
def test_percentiles_of_nothing_and_beyond_are_errors(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match=r"no values|share"):
        percentile(values, share)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_one_of_the_values_and_enough_do_not_exceed_it(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert sum(value < found for value in values) < share * len(values)


def test_a_row_counts_calls_records_and_the_worst_of_two_holders() -> None:
    held = Outcome(kind="held, UDP", records=1)
    lost = Outcome(kind="ringing, UDP", lost="no answer to BYE")
    twice = Outcome(kind="held, TLS", records=2)
    none = Outcome(kind="held, TLS", records=0)
    found = rows(
        [
            trial(0.3, held, lost),
            trial(0.5, twice, doubled=0.2),
            trial(0.4, none, doubled=0.1),
            trial(0.1, failure=KILLED),
        ]
    )
    assert [row.failure for row in found] == [OFF, KILLED]
    row = found[0]
    assert (row.trials, row.p50, row.p99, row.worst) == (3, 0.4, 0.5, 0.5)
    assert (row.up, row.lost, row.records, row.doubled) == (4, 1, 2, 0.2)
    assert found[1].records is None


def test_less_than_no_gap_is_none() -> None:
    assert rows([trial(-0.004)])[0].worst == 0


def test_what_does_not_apply_is_left_empty() -> None:
    shown = dict(zip(HEAD, cells(rows([trial(0.25)])[0]), strict=True))
    assert shown["p50"] == "0.250 s"
    assert shown["TWO HOLDERS"] == "0"
    assert shown["CALLS UP"] == shown["LOST"] == shown["RECORDS WRONG"] == ""


def test_calls_by_kind() -> None:
    up = Outcome(kind="held, UDP")
    assert kinds([trial(0.1, up, Outcome(kind="held, UDP", lost="x")), trial(0.2, up)]) == [
        ("held, UDP", "3", "1")
    ]


def test_tables() -> None:
    body = [("held, UDP", "3", "1"), ("ringing, TLS", "12", "0")]
    assert text_table(KIND_HEAD, body) == (
        "CALLS         UP  LOST\nheld, UDP      3     1\nringing, TLS  12     0\n"
    )
    assert markdown_table(KIND_HEAD, body) == (
        "| CALLS | UP | LOST |\n|---|---|---|\n| held, UDP | 3 | 1 |\n| ringing, TLS | 12 | 0 |\n"
    )

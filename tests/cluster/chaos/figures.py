"""What trials come to: percentiles, calls lost, tables. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One call that was up when something failed.

    ``kind`` is its state and transport, as ``held, TLS``; ``lost`` says why if it did not go on and
    end as it should; ``records`` counts its call records, None where none is made.
    """

    kind: str
    lost: str = ""
    records: int | None = None


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One failure. Seconds: ``gap`` as phones had it, ``doubled`` with two hosts on the address."""

    failure: str
    gap: float
    doubled: float
    calls: tuple[Outcome, ...] = ()


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """All trials of one failure. Times in seconds, ``doubled`` the worst of them."""

    failure: str
    trials: int
    p50: float
    p99: float
    worst: float
    up: int
    lost: int
    records: int | None
    doubled: float


HEAD = (
    *("FAILURE", "TRIALS", "p50", "p99", "WORST"),
    *("CALLS UP", "LOST", "RECORDS WRONG", "TWO HOLDERS"),
)
KIND_HEAD = ("CALLS", "UP", "LOST")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0 to 1) of all do not exceed: the nearest rank.

    Of fewer than 100 values the 99th percentile is the largest. Raises ValueError for none.
    """
    if not values:
        raise ValueError("no values")
    if not 0 < share <= 1:
        raise ValueError(f"share {share:g}: expected more than 0 and at most 1")
    # Less a trifle: 0.99 * 100 is a little more than 99.
    return sorted(values)[math.ceil(share * len(values) - 1e-9) - 1]


def rows(trials: Iterable[Trial]) -> list[Row]:
    """One a failure, in the order in which they first came."""
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.failure, []).append(trial)
    return [_row(failure, of_it) for failure, of_it in found.items()]


def _row(failure: str, trials: Sequence[Trial]) -> Row:
    gaps = [max(trial.gap, 0.0) for trial in trials]
    calls = [call for trial in trials for call in trial.calls]
    counted = [call.records for call in calls if call.records is not None]
    return Row(
        failure=failure,
        trials=len(trials),
        p50=percentile(gaps, 0.5),
        p99=percentile(gaps, 0.99),
        worst=max(gaps),
        up=len(calls),
        lost=sum(bool(call.lost) for call in calls),
        records=sum(count != 1 for count in counted) if counted else None,
        doubled=max(trial.doubled for trial in trials),
    )


def cells(row: Row) -> tuple[str, ...]:
    """As `HEAD` has it."""
    calls = (str(row.up), str(row.lost)) if row.up else ("", "")
    records = "" if row.records is None else str(row.records)
    times = (seconds(row.p50), seconds(row.p99), seconds(row.worst))
    return (row.failure, str(row.trials), *times, *calls, records, seconds(row.doubled))


def seconds(value: float) -> str:
    return f"{value:.3f} s" if value else "0"


def kinds(trials: Iterable[Trial]) -> list[tuple[str, ...]]:
    """Calls up and lost by state and transport, as `KIND_HEAD` has it."""
    found: dict[str, list[Outcome]] = {}
    for trial in trials:
        for call in trial.calls:
            found.setdefault(call.kind, []).append(call)
    return [
        (kind, str(len(calls)), str(sum(bool(call.lost) for call in calls)))
        for kind, calls in sorted(found.items())
    ]


def text_table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Columns aligned: the first to the left, figures to the right."""
    lines = [tuple(head), *map(tuple, body)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]

    def line(one: Sequence[str]) -> str:
        first = one[0].ljust(widths[0])
        return "  ".join([first, *(c.rjust(w) for c, w in zip(one[1:], widths[1:], strict=True))])

    return "\n".join(line(one).rstrip() for one in lines) + "\n"


def markdown_table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """The same for a document."""
    lines = [" | ".join(head), "|".join("---" for _ in head), *(" | ".join(one) for one in body)]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines) + "\n"

"""Bad specs → messages, as `golden` describes. Each message is read by somebody who has to act."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.spec.golden import BAD, Case, cases, messages

CASES = {
    f"{file.stem}: {case.title}": case for file in sorted(BAD.glob("*.txt")) for case in cases(file)
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_message(case: Case, tmp_path: Path) -> None:
    assert messages(case, tmp_path) == case.expected


def test_the_base_itself_is_good(tmp_path: Path) -> None:
    assert messages(Case(title="base"), tmp_path) == []


def test_every_bad_spec_is_told_something() -> None:
    assert len(CASES) > 100
    assert all(case.expected for case in CASES.values())

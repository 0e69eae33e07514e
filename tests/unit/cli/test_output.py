"""Tables, ages, and what a terminal must not be sent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pbxctl.commands.output import Output, age, clean, columns, count, took


def test_columns_are_as_wide_as_their_cells() -> None:
    lines = columns(("A", "LONG"), [("xyz", "1"), ("x", "")])
    assert [line.plain for line in lines] == ["A    LONG", "xyz  1", "x"]


def test_a_narrow_terminal_cuts_and_says_so() -> None:
    lines = columns(("A", "B"), [("1234567890", "x")], width=8)
    assert lines[1].plain == "1234567…"


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5), st.integers(5, 100))
def test_no_line_is_wider_or_carries_control_characters(
    rows: list[tuple[str, str]], width: int
) -> None:
    for line in columns(("A", "B"), rows, width=width):
        assert cell_len(line.plain) <= width
        assert line.plain.isprintable()


def test_escape_sequences_do_not_reach_a_terminal() -> None:
    assert "\x1b" not in clean("\x1b[2Jgone\r\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (20.9, "20 s"), (60, "1 min"), (3600 * 5, "5 h"), (86400 * 9 + 5, "9 d")],
)
def test_age(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_words() -> None:
    assert took(0.44) == "0.4 s"
    assert took(21.4) == "21 s"
    assert count(1, "user") == "1 user"
    assert count(2000, "user") == "2,000 users"


def test_json_output_has_no_prose(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(json=True)
    out.line("words")
    out.note("words")
    out.table(("A",), [("1",)])
    out.value({"a": 1})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": 1}
    assert captured.err == ""

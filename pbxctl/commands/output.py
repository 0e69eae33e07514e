"""Where text goes: tables and words for people, JSON for programs, plain when no terminal looks."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import click
import msgspec
from rich.console import Console
from rich.text import Text

UNBOUNDED = 10_000
"""Width where nobody looks: a pipe gets whole lines, whatever the terminal's width was."""

STATE_STYLES = {
    "up": "green",
    "active": "green",
    "passing": "green",
    "running": "green",
    "starting": "yellow",
    "restarting": "yellow",
    "draining": "yellow",
    "warning": "yellow",
    "disabled": "yellow",
    "down": "red",
    "dead": "red",
    "critical": "red",
    "add": "green",
    "change": "yellow",
    "remove": "red",
}


class Output:
    """One command's two streams. ``json`` says that stdout carries one JSON value and no prose."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self.out = _console(sys.stdout)
        self.err = _console(sys.stderr)

    @property
    def interactive(self) -> bool:
        """Whether a person reads what is printed, so that lines may be redrawn."""
        return self.out.is_terminal and not self.json

    def line(self, text: str = "", style: str = "") -> None:
        """One line for people; nothing under ``--json``."""
        if not self.json:
            self.out.print(Text(text, style=style), soft_wrap=True)

    def note(self, text: str, style: str = "") -> None:
        """One line to stderr: warnings and what goes on. Nothing under ``--json``."""
        if not self.json:
            self.err.print(Text(text, style=style), soft_wrap=True)

    def value(self, value: object) -> None:
        """The command's result as JSON, whatever ``json`` says."""
        click.echo(to_json(value))

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Columns as wide as what is in them, cut at the terminal's edge and nowhere else."""
        if self.json:
            return
        for line in columns(headings, rows, width=self.out.width):
            self.out.print(line, soft_wrap=True)


def _console(stream: TextIO) -> Console:
    terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
    return Console(
        file=stream,
        force_terminal=terminal,
        no_color=bool(os.environ.get("NO_COLOR")) or not terminal,
        width=shutil.get_terminal_size().columns if terminal else UNBOUNDED,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def columns(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, width: int = UNBOUNDED
) -> list[Text]:
    """The lines of a table: two spaces between columns, none after the last, cut at ``width``."""
    table = [[clean(str(cell)) for cell in row] for row in rows]
    widths = [
        max([len(heading), *(len(row[i]) for row in table)]) for i, heading in enumerate(headings)
    ]
    lines = [_row(headings, widths, width, "bold")]
    lines += [_row(row, widths, width, "") for row in table]
    return lines


def _row(cells: Sequence[str], widths: Sequence[int], width: int, style: str) -> Text:
    line = Text()
    last = len(cells) - 1
    for i, cell in enumerate(cells):
        padded = cell if i == last else cell.ljust(widths[i] + 2)
        line.append(padded, style=style or STATE_STYLES.get(cell, ""))
    line.rstrip()
    if line.cell_len > width:
        line.truncate(width, overflow="ellipsis")
    return line


def clean(text: str) -> str:
    """``text`` without control characters: what a phone or a log sends must not move the cursor."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def to_json(value: object) -> str:
    """Indented JSON of what msgspec can encode, keys in the order given."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def age(seconds: float) -> str:
    """A span in its largest unit, as people say it: ``4 min``, ``9 d``."""
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def took(seconds: float) -> str:
    """How long something took: a decimal below ten seconds, where it tells something."""
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def count(number: int, one: str, many: str = "") -> str:
    """``1 user``, ``2,000 users``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def error(problem: str, details: Sequence[str], *, json: bool, facts: dict[str, Any]) -> None:
    """An error on stderr: for people, or as one JSON value."""
    if json:
        body: dict[str, Any] = {"message": problem, "details": list(details), **facts}
        click.echo(to_json({"error": body}), err=True)
        return
    console = _console(sys.stderr)
    for detail in details:
        console.print(Text(clean(detail)), soft_wrap=True)
    console.print(Text(clean(problem), style="red"), soft_wrap=True)

"""What is wrong with a spec, said so that an operator can go and mend it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Literal

import msgspec

Severity = Literal["error", "warning"]


class Problem(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One problem. ``line`` and ``column`` count from 1; 0 means that the whole file is meant.

    ``path`` is where in the spec, ``tenants[0].ring_groups.sales``; empty for the file itself.
    Prints as ``file:line:column: path: text``.
    """

    file: str
    line: int
    column: int
    path: str
    text: str
    severity: Severity = "error"

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        parts = [where]
        if self.severity == "warning":
            parts.append("warning")
        if self.path:
            parts.append(self.path)
        # What a text quotes of the spec may have line breaks.
        return ": ".join([*parts, self.text]).replace("\n", "\\n")


class SpecError(Exception):
    """The spec cannot be used. ``problems`` has every error, and the warnings beside them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that are not warnings."""
        return tuple(p for p in self.problems if p.severity == "error")


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean "orders"?`` for the nearest known word, or nothing."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def listing(words: Sequence[str], last: str = "or") -> str:
    """``a, b or c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


Step = str | int
Path = tuple[Step, ...]
"""Where in a spec: keys and list indexes."""


def path_text(path: Path) -> str:
    """``tenants[0].numbers."+4930"``: a key that is no plain word stands in quotes."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
            continue
        plain = step.replace("-", "").replace("_", "").isalnum() and not step[0].isdigit()
        text += ("." if text else "") + (step if plain else f'"{printable(step)}"')
    return text


def printable(text: str, limit: int = 60) -> str:
    """Text of the operator's as it may go to a terminal: no control characters, not too long."""
    clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"

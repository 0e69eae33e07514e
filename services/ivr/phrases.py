"""What an IVR server says by itself, by language; English where a language has none."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

FALLBACK = "en"
FILE = Path(__file__).with_name("phrases.toml")


@cache
def _all() -> dict[str, dict[str, str]]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def phrase(name: str, language: str, /, **values: str) -> tuple[str, str]:
    """The language that it is in, and the phrase with its values."""
    known = _all()
    spoken = next(
        (each for each in (language, language.partition("-")[0]) if each in known), FALLBACK
    )
    return spoken, known[spoken][name].format(**values)

"""What is taken from a web service's answer. Pure: any JSON in, text or nothing out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

MAX_VALUE = 256
_INDEX = re.compile(r"[0-9]{1,9}")


def picked(answer: object, take: Mapping[str, str]) -> dict[str, str] | None:
    """The values at the paths of ``take``, as text; None where one is missing or no plain value.

    ``answer`` None is no answer at all, whatever is taken from it.
    """
    if answer is None:
        return None
    found: dict[str, str] = {}
    for name, path in take.items():
        value = _at(answer, path)
        if value is None:
            return None
        found[name] = value
    return found


def _at(value: object, path: str) -> str | None:
    for step in path.split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and _INDEX.fullmatch(step) and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return _text(value)


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int | float | str):
        text = str(value)
        return "".join(c for c in text[:MAX_VALUE] if c.isprintable())
    return None

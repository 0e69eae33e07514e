"""What differs between two documents, field by field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from services.core.configuration import Destination

Differences = dict[str, tuple[object, object]]
"""Path of a field → old and new value; None where there is none."""

SHOWN = 2
"""Fields that one line of a plan names."""


def full(value: object) -> object:
    """A document as plain values with its defaults, which its JSON leaves out.

    A destination is one value, ``extension 2001``: its two fields mean nothing apart.
    """
    if isinstance(value, Destination):
        return f"{value.kind.replace('_', ' ')} {value.target}"
    if isinstance(value, msgspec.Struct):
        return {name: full(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {key: full(below) for key, below in cast("Mapping[str, object]", value).items()}
    if isinstance(value, list | tuple):
        return [full(below) for below in cast("list[object]", value)]
    return value


def between(old: object, new: object, path: str = "") -> Differences:
    """The fields that differ, by path; what is there on one side only is named as a whole.

    Elements of a list go by name where they have one, and ``order`` tells that theirs changed.
    """
    if old == new:
        return {}
    before, after = _by_name(old), _by_name(new)
    if before is None or after is None:
        return {path: (old, new)}
    differences: Differences = {}
    for key in sorted(before.keys() | after.keys()):
        below = f"{path}.{_step(key)}" if path else _step(key)
        if key in before and key in after:
            differences.update(between(before[key], after[key], below))
        else:
            differences[below] = (before.get(key), after.get(key))
    if isinstance(old, list):
        was, now = [k for k in before if k in after], [k for k in after if k in before]
        if was != now:
            differences[f"{path}.order" if path else "order"] = (was, now)
    return differences


def _by_name(value: object) -> dict[str, object] | None:
    """The parts of a value, without those that are empty; None if it has none to tell apart."""
    if isinstance(value, dict):
        parts = cast("dict[str, object]", value).items()
        return {key: below for key, below in parts if below not in (None, [], {})}
    if isinstance(value, list):
        elements = cast("list[object]", value)
        names = [_name(element) for element in elements]
        if all(names) and len(set(names)) == len(names):
            return dict(zip(names, elements, strict=True))
    return None


def _name(element: object) -> str:
    if not isinstance(element, Mapping):
        return ""
    found = cast("Mapping[str, Any]", element)
    for field in ("name", "trunk", "extension"):
        if isinstance(found.get(field), str):
            return found[field]
    return ""


def _step(key: str) -> str:
    plain = key.replace("-", "").replace("_", "").isalnum() and not key[0].isdigit()
    return key if plain else json.dumps(key)


def words(differences: Differences) -> str:
    """The first few differences for people: ``max_calls 2 → 5, numbers."+49301" added``."""
    parts = [_words(path, *pair) for path, pair in list(differences.items())[:SHOWN]]
    if len(differences) > SHOWN:
        parts.append(f"and {len(differences) - SHOWN} more")
    return ", ".join(parts)


def _words(path: str, old: object, new: object) -> str:
    if old is None:
        return f"{path} added"
    if new is None:
        return f"{path} removed"
    return f"{path} {_show(old)} → {_show(new)}"


def _show(value: object) -> str:
    if isinstance(value, list) and all(isinstance(v, str) for v in cast("list[object]", value)):
        text = ", ".join(cast("list[str]", value)) or "none"
    else:
        text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 40 else text[:39] + "…"

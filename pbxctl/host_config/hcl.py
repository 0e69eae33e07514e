"""HCL, as Consul's and Nomad's agents read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

Value = str | int | bool | Sequence[str] | Mapping[str, "Value"]
"""A mapping is a block; a key with a space in it is a block's type and its label."""


def render(body: Mapping[str, Value], *, depth: int = 0) -> str:
    """The text, two spaces a level, ending in a line break; keys in the order given."""
    indent = "  " * depth
    lines: list[str] = []
    for key, value in body.items():
        if isinstance(value, Mapping):
            kind, _, label = key.partition(" ")
            head = f"{kind} {_quoted(label)}" if label else kind
            lines.append(f"{indent}{head} {{\n{render(value, depth=depth + 1)}{indent}}}\n")
        else:
            lines.append(f"{indent}{_name(key)} = {_literal(value)}\n")
    return "".join(lines)


def _literal(value: str | int | bool | Sequence[str]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _quoted(value)
    return f"[{', '.join(_quoted(each) for each in value)}]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _name(key: str) -> str:
    return key if key.replace("_", "").isalnum() else _quoted(key)

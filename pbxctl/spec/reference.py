"""The spec's reference, docs/spec.md, written from the schema: ``python -m pbxctl.spec.reference``.

With ``--check`` it writes nothing and exits with 1 where the file is out of date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from pbxctl.spec.problems import listing
from pbxctl.spec.schema import schema

TARGET = Path(__file__).resolve().parents[2] / "docs" / "spec.md"

Schema = dict[str, Any]

HEADER = """\
# The spec
Written from `specs/cluster.schema.json` by `python -m pbxctl.spec.reference`; change it there.

One YAML file describes a PBX: `pbxctl validate` says what is wrong with it, `pbxctl plan` what
`pbxctl apply` would change. To begin with: [one host](../examples/one-host.yaml),
[several tenants](../examples/multi-tenant.yaml), or `pbxctl init`. `pbxctl schema` prints the
schema for an editor that checks while one types.

- Numbers and extensions stand in quotes: YAML takes `2001`, `0123`, `+4930` and `12:34` for
  arithmetic, and `no` and `on` for false and true.
- Nothing secret stands in a spec: see [secret](#secret).
- Everything is known by its name: a tenant that is renamed is another tenant.
- Changes of users, numbers, menus, hours, ring groups, trunks, routes, security, recording and
  alerts restart nothing and are in force at once. Changes of a server, of `network` and of the
  release restart the jobs that they concern; the plan says which.
"""


def main(arguments: list[str]) -> int:
    """Write or check the reference; the exit status."""
    text = reference()
    if "--check" in arguments:
        return int(TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


def reference() -> str:
    """docs/spec.md."""
    whole = schema()
    definitions = cast("dict[str, Schema]", whole["$defs"])
    parts = [HEADER, *_section("top level", whole)]
    objects = {name: d for name, d in definitions.items() if "properties" in d}
    for name in _in_order(whole, definitions):
        if name not in objects:
            continue
        parts.extend(_section(_title(name), objects[name]))
    parts.append("## Kinds of values\n")
    parts.append("| kind | is | written as |\n|---|---|---|")
    for name, found in definitions.items():
        if name not in objects:
            parts.append(f"| {_title(name)} | {_cell(found['description'])} | {_form(found)} |")
    return "\n".join(parts) + "\n"


def _in_order(whole: Schema, definitions: dict[str, Schema]) -> Iterator[str]:
    """Definitions as the spec mentions them, from the top."""
    seen: set[str] = set()
    waiting = list(_references(whole["properties"]))
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        yield name
        waiting[:0] = list(_references(definitions[name]))


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        found = cast("Schema", part)
        if isinstance(found.get("$ref"), str):
            yield found["$ref"].rpartition("/")[2]
        for below in found.values():
            yield from _references(below)
    elif isinstance(part, list):
        for below in cast("list[Any]", part):
            yield from _references(below)


def _section(title: str, part: Schema) -> Iterator[str]:
    yield f"## {title}\n"
    yield f"{part['description']}\n"
    required = cast("list[str]", part.get("required", []))
    yield "| field | kind | default | what it is | for example |\n|---|---|---|---|---|"
    for name, found in cast("dict[str, Schema]", part["properties"]).items():
        default = "**required**" if name in required else _default(found)
        examples = "<br>".join(_code(example) for example in found["examples"])
        row = (f"`{name}`", _kind(found), default, _cell(found["description"]), examples)
        yield f"| {' | '.join(row)} |"
    if part.get("x-not-built"):
        yield f"\nNot built yet, and refused: {listing(part['x-not-built'], 'and')}."
    yield ""


def _default(found: Schema) -> str:
    value = found.get("default")
    return "" if value in (None, "", [], {}) else _code(value)


def _kind(found: Schema) -> str:
    if "$ref" in found:
        return _link(found["$ref"])
    if "anyOf" in found:
        return " or ".join(_kind(choice) for choice in found["anyOf"])
    if "enum" in found:
        known = " ".join(_code(value) for value in found["enum"])
        later = found.get("x-not-built")
        return known + (f"; not built yet: {listing(later, 'and')}" if later else "")
    kind = str(found["type"])
    if kind == "array":
        return f"list of {_kind(found['items'])}"
    if kind == "object":
        return (
            f"mapping of {_kind(found['propertyNames'])} to {_kind(found['additionalProperties'])}"
        )
    if kind in ("integer", "number"):
        name = "whole number" if kind == "integer" else "number"
        return f"{name}, {found['minimum']} to {found['maximum']}"
    if kind == "boolean":
        return "true or false"
    return _form(found)


def _form(found: Schema) -> str:
    if "x-expected" in found:
        return _cell(found["x-expected"])
    if "enum" in found:
        return " ".join(_code(value) for value in found["enum"])
    if "minimum" in found:
        return f"{found['minimum']} to {found['maximum']}"
    formats = {
        "ip-address": "an IP address, such as `10.20.0.11`",
        "ip-address-or-empty": "an IP address, such as `10.20.0.11`",
        "ip-interface": "an IP address, maybe with a prefix length",
        "ip-network": "such as `198.51.100.0/29` or `198.51.100.7`",
        "sip-uri": "a SIP URI without a user",
    }
    return formats.get(str(found.get("format")), "text")


def _link(reference: str) -> str:
    name = reference.rpartition("/")[2]
    target = cast("Schema", schema()["$defs"])[name]
    anchor = _title(name).replace(" ", "-") if "properties" in target else "kinds-of-values"
    return f"[{_title(name)}](#{anchor})"


def _title(name: str) -> str:
    return name.replace("_", " ").replace("-", " ")


def _code(value: object) -> str:
    return f"`{_yaml(value)}`".replace("|", "\\|")


def _yaml(value: object) -> str:
    """A value as one would write it in a spec, on one line."""
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value).items()
        return "{" + ", ".join(f"{_yaml(key)}: {_yaml(below)}" for key, below in pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_yaml(below) for below in cast("list[object]", value)) + "]"
    if isinstance(value, str):
        plain = value and value[0].isalpha() and not any(c in value for c in ":,#&*{}[] ")
        return (
            value if plain or (value[:1].isdigit() and value[-1:] in "smhdB") else json.dumps(value)
        )
    return json.dumps(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

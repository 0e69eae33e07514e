"""The JSON Schema's verdict on a tree, in an operator's words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path as FilePath
from typing import Any, cast

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from pbxctl.spec.formats import checker
from pbxctl.spec.problems import Path, Problem, listing, path_text, printable, suggestion
from pbxctl.spec.scalars import Misread, why_no_text
from pbxctl.spec.tree import Node

SCHEMA = FilePath(__file__).resolve().parents[2] / "specs" / "cluster.schema.json"

_KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}

Finding = tuple[Path, Problem]


@cache
def schema() -> dict[str, Any]:
    """The schema of a cluster spec, JSON Schema 2020-12."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """A schema's pattern as ECMA-262 means it: ``$`` is the end, not before a last line break."""
    return re.compile(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern)


def _pattern(
    _validator: Any, pattern: str, instance: Any, _schema: Any
) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not compiled(pattern).search(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


@cache
def _validator() -> Any:
    # To JSON Schema 500.0 is an integer; to what reads the documents it is none.
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
    strict = cast("Any", validators).extend(
        Draft202012Validator, {"pattern": _pattern}, type_checker=types
    )
    return strict(schema(), format_checker=checker())


def _is_integer(_checker: Any, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def check(file: str, root: Node, values: Any) -> list[Finding]:
    """Every breach of the schema, with the path of what has to go to be without it."""
    errors = cast("Iterator[ValidationError]", _validator().iter_errors(values))
    findings: list[Finding] = []
    for error in errors:
        findings.extend(_explain(file, root, error))
    return findings


def _explain(file: str, root: Node, error: ValidationError) -> Iterator[Finding]:
    path: Path = tuple(cast("Iterable[str | int]", error.absolute_path))
    node = root.find(path)
    rule = str(error.validator)
    parent = cast("Mapping[str, Any]", error.schema)

    def problem(where: Path, at: Node, text: str) -> Finding:
        return where, _problem(file, at, where, text)

    if rule == "additionalProperties":
        for name in _unknown(node, parent):
            at = node.key(name) or node
            yield problem((*path, name), at, _unknown_text(name, parent))
    elif rule == "required":
        missing = [n for n in cast("list[str]", error.validator_value) if not _has(node, n)]
        # One error for each missing name comes from the validator; each says its own.
        name = next((n for n in missing if f"'{n}' is" in error.message), missing[0])
        where = path_text(path) or "the spec"
        yield problem(path, node, f'needs "{name}"{_given(where, node)}')
    elif rule in ("anyOf", "oneOf"):
        yield from _branches(file, root, error)
    elif _is_secret(parent):
        yield problem(path, node, _secret_text(node))
    elif error.absolute_path and "propertyNames" in error.absolute_schema_path:
        name = str(error.instance)
        at = node.key(name) or node
        yield problem((*path, name), at, f'"{printable(name)}": {_wanted(parent, error)}')
    else:
        yield problem(path, node, _text(error, parent, node))


def _problem(file: str, at: Node, path: Path, text: str) -> Problem:
    return Problem(file=file, line=at.line, column=at.column, path=path_text(path), text=text)


def _has(node: Node, name: str) -> bool:
    return node.mapping is not None and name in node.mapping


def _given(where: str, node: Node) -> str:
    if not node.mapping:
        return ""
    return f"; here {where} has {listing([printable(key) for key in node.mapping][:6], 'and')}"


def _unknown(node: Node, parent: Mapping[str, Any]) -> list[str]:
    known = cast("Mapping[str, Any]", parent.get("properties", {}))
    return [name for name in node.mapping or {} if name not in known]


def _unknown_text(name: str, parent: Mapping[str, Any]) -> str:
    known = list(cast("Mapping[str, Any]", parent.get("properties", {})))
    if name in cast("list[str]", parent.get("x-not-built", ())):
        advice = f"expected {parent['x-expected']}" if "x-expected" in parent else "remove it"
        return f'"{name}" is not built yet; {advice}'
    if parent.get("x-secret"):
        return f'"{printable(name)}" is not known here: expected {parent["x-expected"]}'
    near = suggestion(name, known)
    return f'"{printable(name)}" is not known here' + (near or f"; known: {listing(known, 'and')}")


def _branches(file: str, root: Node, error: ValidationError) -> Iterator[Finding]:
    """Of the alternatives, the one meant is the one of the value's own type."""
    branches: dict[int, list[ValidationError]] = {}
    for below in cast("Iterable[ValidationError]", error.context or ()):
        branches.setdefault(int(below.relative_schema_path[0]), []).append(below)
    meant = [
        found
        for found in branches.values()
        if not any(b.validator == "type" and not b.relative_path for b in found)
    ]
    if meant:
        for below in meant[0]:
            yield from _explain(file, root, below)
        return
    path: Path = tuple(cast("Iterable[str | int]", error.absolute_path))
    node = root.find(path)
    text = f"expected {cast('Mapping[str, Any]', error.schema)['x-expected']}"
    if node.mapping is None and node.sequence is None and not node.is_text:
        text = f"is empty; {text}" if node.scalar is None else why_no_text(node.raw, node.scalar)
    yield path, _problem(file, node, path, text)


def _is_secret(parent: Mapping[str, Any]) -> bool:
    return bool(parent.get("x-secret"))


def _secret_text(node: Node) -> str:
    if node.mapping is not None:
        return "expected exactly one of env and file: {env: NAME} or {file: path}"
    return (
        "a secret does not stand in a spec: write {env: NAME} to take it from an environment"
        " variable, or {file: path}"
    )


def _wanted(parent: Mapping[str, Any], error: ValidationError) -> str:
    if "x-expected" in parent:
        return f"expected {parent['x-expected']}"
    return printable(error.message, 200)


def _text(error: ValidationError, parent: Mapping[str, Any], node: Node) -> str:
    rule, value, limit = str(error.validator), error.instance, error.validator_value
    if rule == "type":
        return _type_text(str(limit), parent, node)
    if rule == "enum":
        return _enum_text(cast("list[str]", limit), parent, node)
    if rule == "format" and error.cause is not None:
        return f'"{printable(str(value))}": {error.cause}'
    if rule == "pattern" and parent.get("x-hidden"):
        return _wanted(parent, error)
    if rule == "pattern":
        return f'"{printable(str(value))}": {_wanted(parent, error)}'
    if rule in ("minimum", "maximum"):
        low, high = parent.get("minimum"), parent.get("maximum")
        return f"{node.raw}: expected {_KINDS[str(parent['type'])]} from {low} to {high}"
    if rule == "uniqueItems":
        return "the same value is here twice"
    if rule in ("minItems", "minLength"):
        return f"is empty; expected {parent.get('x-expected', 'at least one')}"
    if rule in ("maxItems", "maxLength"):
        return f"is too long; at most {limit}"
    return _wanted(parent, error)


def _type_text(wanted: str, parent: Mapping[str, Any], node: Node) -> str:
    kind = _KINDS.get(wanted, wanted)
    expected = str(parent.get("x-expected", kind))
    if node.mapping is not None or node.sequence is not None:
        return f"expected {expected}, not {'a mapping' if node.mapping is not None else 'a list'}"
    if node.scalar is None and node.plain:
        return f"is empty; expected {expected}, or leave it out"
    if wanted == "string":
        if "duration" in expected and isinstance(node.scalar, int):
            return f"{node.raw}: expected {expected}; {node.raw}s if you mean seconds"
        return why_no_text(node.raw, node.scalar)
    if wanted in ("integer", "number"):
        if isinstance(node.scalar, Misread) and node.raw.lstrip("+-").startswith("0"):
            return f"{printable(node.raw)}: expected {kind} without leading zeros"
        if isinstance(node.scalar, str) and not node.plain and node.raw.isascii():
            number = node.raw.isdigit()
            return f'"{printable(node.raw)}": expected {kind}' + (", without quotes" * number)
    return f"{printable(node.raw)}: expected {expected}"


def _enum_text(known: list[str], parent: Mapping[str, Any], node: Node) -> str:
    if not node.is_text:
        return f"{printable(node.raw) or 'this'}: expected {listing(known)}"
    noun = f"{parent['x-noun']} " if "x-noun" in parent else ""
    if node.raw in cast("list[str]", parent.get("x-not-built", ())):
        return f'{noun}"{node.raw}" is not built yet; use {listing(known)}'
    near = suggestion(node.raw, known)
    return f'{noun}"{printable(node.raw)}": expected {listing(known)}{near}'

"""What an unquoted scalar of YAML is, where its readers agree on that."""

from __future__ import annotations

import re

import msgspec

from pbxctl.spec.problems import printable

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_ODD_INTEGER = re.compile(r"[-+]?(0[0-9_]+|0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[1-9][0-9_]+)")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TRUE = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"}
_FALSE = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"}
_NULL = {"", "~", "null", "Null", "NULL"}


class Misread(msgspec.Struct, frozen=True):
    """A plain scalar that YAML readers do not agree on, or that no field can want."""

    text: str
    read_as: str


Scalar = str | int | float | bool | None | Misread


def resolve(raw: str) -> Scalar:
    """The value of an unquoted scalar.

    YAML 1.2's core schema, but ``yes``/``no``/``on``/``off`` are booleans as in YAML 1.1, and what
    the two versions read as different numbers is a `Misread`.
    """
    if raw in _NULL:
        return None
    if raw in _TRUE:
        return True
    if raw in _FALSE:
        return False
    if _INTEGER.fullmatch(raw):
        return int(raw) if len(raw) < 20 else Misread(raw, "a number")
    if _FLOAT.fullmatch(raw):
        return float(raw)
    if _ODD_INTEGER.fullmatch(raw):
        octal = raw.lstrip("+-").startswith("0") and raw.lstrip("+-")[1:2].isdigit()
        return Misread(raw, "an octal number, or without its zero" if octal else "a number")
    if _SEXAGESIMAL.fullmatch(raw):
        return Misread(raw, "a number to the base of 60")
    if _SPECIAL_FLOAT.fullmatch(raw):
        return Misread(raw, "a number")
    return raw


def why_no_text(raw: str, value: Scalar) -> str:
    """Why an unquoted scalar is no text, and what to write."""
    raw = printable(raw)
    if value is None:
        return f'YAML reads {raw} as nothing; quote it: "{raw}"' if raw else "empty"
    if isinstance(value, bool):
        read_as = "true" if value else "false"
    elif isinstance(value, Misread):
        read_as = value.read_as
    else:
        read_as = "a number"
    return f'YAML reads {raw} as {read_as}; quote it: "{raw}"'

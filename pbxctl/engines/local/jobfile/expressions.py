"""Values of expressions: literals, lists, ``var.x`` and ``${...}`` of variables and NOMAD_ names.

Source: HCL's native syntax specification; what is left out here is refused by name.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping

from lark import Token

from pbxctl.engines.local.jobfile.errors import JobFileError, Place
from pbxctl.engines.local.jobfile.syntax import NEWLINE, Node, children, place_of, text_of

Scalar = str | int | float | bool
Value = Scalar | list[Scalar]

RUNTIME = re.compile(r"\$\{(NOMAD_[A-Za-z0-9_]+|node\.[a-z.]+)\}")
"""What is left as it stands, because only the engine that runs the task knows it."""

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_HEREDOC = re.compile(r"<<(-?)([A-Za-z][A-Za-z0-9._-]*)\r?\n(.*?)[ \t]*\2\s*\Z", re.DOTALL)
_TEMPLATE = re.compile(r"\$\$\{|%%\{|\$\{\s*([^}]*?)\s*\}|%\{")


def text_value(value: Scalar) -> str:
    """A value as HCL writes it into a string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


class Evaluator:
    """Values in one file, with ``variables`` as they are."""

    def __init__(self, file: str, variables: Mapping[str, Scalar]) -> None:
        self._file = file
        self._variables = variables

    def value(self, node: Node) -> Value:
        """The value of an expression. Raises JobFileError."""
        found = self._inner(node)
        if found.data == "tuple":
            return [self._scalar(each) for each in children(found) if each.data != NEWLINE]
        return self._scalar(found)

    def _scalar(self, node: Node) -> Scalar:
        node = self._inner(node)
        match str(node.data):
            case "string":
                return self._string(node)
            case "int_lit":
                return int(text_of(node))
            case "float_lit":
                return float(text_of(node))
            case "literal_value" if text_of(node) in ("true", "false"):
                return text_of(node) == "true"
            case "unary_op" if text_of(node).startswith("-"):
                return self._negative(node)
            case "heredoc_template" | "heredoc_template_trim":
                return self._heredoc(node)
            case "identifier" | "get_attr_expr_term":
                return self._name(text_of(node), place_of(node, self._file))
            case kind:
                raise self._refused(node, _NAMES.get(kind, text_of(node)))

    def _inner(self, node: Node) -> Node:
        while node.data == "expr_term":
            parts = [part for part in children(node) if part.data != NEWLINE]
            if len(parts) != 1:
                raise self._refused(node, text_of(node))
            node = parts[0]
        return node

    def _negative(self, node: Node) -> Scalar:
        value = self._scalar(children(node)[0])
        if isinstance(value, str | bool):
            raise self._refused(node, "a minus before what is no number")
        return -value

    def _string(self, node: Node) -> Scalar:
        parts = children(node)
        values = [self._part(part) for part in parts]
        # "${var.x}" alone is the variable's value, with its type.
        if len(values) == 1 and not isinstance(values[0], str):
            return values[0]
        return "".join(text_value(value) for value in values)

    def _part(self, part: Node) -> Scalar:
        inner = part.children[0]
        if isinstance(inner, Token):
            if inner.type in ("ESCAPED_INTERPOLATION", "ESCAPED_DIRECTIVE"):
                return str(inner)[1:]
            return self._unescape(inner)
        if inner.data != "interpolation":
            raise self._refused(inner, "a %{...} directive")
        return self._scalar(children(inner)[0])

    def _unescape(self, token: Token) -> str:
        def one(match: re.Match[str]) -> str:
            short, long, char = match.groups()
            if char is None:
                return chr(int(short or long, 16))
            if char not in _ESCAPES:
                place = place_of(token, self._file)
                raise JobFileError(place, f"there is no escape \\{char} in HCL")
            return _ESCAPES[char]

        return _ESCAPE.sub(one, str(token))

    def _heredoc(self, node: Node) -> str:
        place = place_of(node, self._file)
        match = _HEREDOC.match(text_of(node))
        if match is None:
            raise JobFileError(place, "this heredoc has no end")
        trim, _, body = match.groups()
        if trim:
            body = textwrap.dedent(body)

        def one(found: re.Match[str]) -> str:
            whole = found.group()
            if whole in ("$${", "%%{"):
                return whole[1:]
            line = place.line + 1 + body.count("\n", 0, found.start())
            here = Place(self._file, line, 1)
            if found.group(1) is None:
                raise JobFileError(here, "the local engine does not know a %{...} directive")
            return text_value(self._name(found.group(1), here))

        return _TEMPLATE.sub(one, body)

    def _name(self, name: str, place: Place) -> Scalar:
        if RUNTIME.fullmatch(f"${{{name}}}"):
            return f"${{{name}}}"
        root, _, variable = name.partition(".")
        if root != "var" or not variable:
            raise JobFileError(
                place,
                f"the local engine does not know {name}: it knows var.<name> and NOMAD_<name>",
            )
        if variable not in self._variables:
            known = ", ".join(sorted(self._variables)) or "none"
            raise JobFileError(place, f"no variable {variable} is declared; declared are: {known}")
        return self._variables[variable]

    def _refused(self, node: Node, what: str) -> JobFileError:
        place = place_of(node, self._file)
        return JobFileError(
            place,
            f"the local engine does not know {what}; write a literal, var.<name> or "
            "a string with ${var.<name>} or ${NOMAD_<name>}",
        )


_NAMES = {
    "object": "an object here",
    "tuple": "a list here",
    "function_call": "functions",
    "binary_op": "operators",
    "unary_op": "operators",
    "conditional": "conditions",
    "for_tuple_expr": "for expressions",
    "for_object_expr": "for expressions",
    "index_expr_term": "indexes",
    "attr_splat_expr_term": "splats",
    "full_splat_expr_term": "splats",
    "literal_value": "null",
}

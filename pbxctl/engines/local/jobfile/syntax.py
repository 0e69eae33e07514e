"""HCL text as blocks and attributes with their places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import hcl2
import msgspec
from lark import Token, Tree
from lark.exceptions import LarkError, UnexpectedInput

from pbxctl.engines.local.jobfile.errors import JobFileError, Place

Node = Tree[Token]

NEWLINE = "new_line_or_comment"

# The library leaves the type of its tree's leaves open.
_parses = cast("Callable[[str], Node]", hcl2.parses_to_tree)  # pyright: ignore[reportUnknownMemberType]


class Attribute(msgspec.Struct, frozen=True):
    name: str
    expression: Node
    place: Place


class Block(msgspec.Struct, frozen=True):
    kind: str
    labels: tuple[str, ...]
    place: Place
    attributes: dict[str, Attribute]
    blocks: tuple[Block, ...]


def parse(text: str, file: str) -> Block:
    """The whole file as a block with no kind. Raises JobFileError."""
    try:
        tree = _parses(text)
    except UnexpectedInput as error:
        place = Place(file, max(error.line, 0), max(error.column, 0))
        raise JobFileError(place, f"this is no HCL: {_seen(text, error)}") from None
    except (LarkError, ValueError) as error:
        raise JobFileError(Place(file), f"this is no HCL: {error}") from None
    return _block(_only(tree, "body"), "", (), Place(file, 1, 1), file)


def place_of(node: Node | Token, file: str) -> Place:
    """Where a part of the tree starts."""
    position: Any = node if isinstance(node, Token) else node.meta
    return Place(file, getattr(position, "line", 0) or 0, getattr(position, "column", 0) or 0)


def text_of(node: Node) -> str:
    """The characters of a part whose tokens stand side by side, like a name or a string."""
    return "".join(str(token) for token in node.scan_values(lambda _: True))


def children(node: Node) -> list[Node]:
    """The sub-trees of a part, in order."""
    return [child for child in node.children if isinstance(child, Tree)]


def _only(node: Node, kind: str) -> Node:
    return next(child for child in children(node) if child.data == kind)


def _block(body: Node, kind: str, labels: tuple[str, ...], place: Place, file: str) -> Block:
    attributes: dict[str, Attribute] = {}
    blocks: list[Block] = []
    for node in children(body):
        here = place_of(node, file)
        if node.data == "attribute":
            name = text_of(children(node)[0])
            if name in attributes:
                first = attributes[name].place.line
                raise JobFileError(here, f"{name} is set twice, first in line {first}")
            attributes[name] = Attribute(name, children(node)[-1], here)
        elif node.data == "block":
            *head, inner = [part for part in children(node) if part.data != NEWLINE]
            words = [text_of(word).strip('"') for word in head]
            blocks.append(_block(inner, words[0], tuple(words[1:]), here, file))
    return Block(kind, labels, place, attributes, tuple(blocks))


def _seen(text: str, error: UnexpectedInput) -> str:
    lines = text.splitlines()
    if not 0 < error.line <= len(lines):
        return "it ends in the middle of a block or string"
    return f'cannot read "{lines[error.line - 1].strip()}"'

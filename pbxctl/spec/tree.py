"""YAML as a tree that remembers where everything stood.

The tree is built from the parser's events with a stack, so depth costs no recursion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pbxctl.spec.problems import Path, Problem, SpecError, path_text, printable
from pbxctl.spec.scalars import Scalar, resolve, why_no_text

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 40
MAX_ALIASED = 100_000
"""Values that aliases may add to those written out; more is a mistake or an attack."""

MERGE = "<<"
STRING_TAG = "tag:yaml.org,2002:str"

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Node(msgspec.Struct, kw_only=True, eq=False):
    """A value and where it begins (from 1). Exactly one of the three contents is used.

    ``plain`` tells an unquoted scalar, ``raw`` is it as written. ``size`` and ``depth`` count what
    is below, aliases followed.
    """

    line: int
    column: int
    mapping: dict[str, tuple[Node, Node]] | None = None
    sequence: list[Node] | None = None
    scalar: Scalar = None
    raw: str = ""
    plain: bool = False
    size: int = 1
    depth: int = 1

    @property
    def is_text(self) -> bool:
        """Whether it is a scalar that every reader takes for text."""
        return self.mapping is None and self.sequence is None and isinstance(self.scalar, str)

    def values(self) -> Any:
        """Plain values: dict, list, text, numbers, and `Misread`."""
        if self.mapping is not None:
            return {key: node.values() for key, (_, node) in self.mapping.items()}
        if self.sequence is not None:
            return [node.values() for node in self.sequence]
        return self.scalar

    def find(self, path: Path) -> Node:
        """The node at ``path``, or the nearest that there is above it."""
        node = self
        for step in path:
            below = node.child(step)
            if below is None:
                return node
            node = below
        return node

    def child(self, step: str | int) -> Node | None:
        """The value under a key or at an index."""
        if self.mapping is not None and isinstance(step, str):
            pair = self.mapping.get(step)
            return pair[1] if pair else None
        if self.sequence is not None and isinstance(step, int) and step < len(self.sequence):
            return self.sequence[step]
        return None

    def key(self, step: str) -> Node | None:
        """The key itself, for its position."""
        pair = self.mapping.get(step) if self.mapping is not None else None
        return pair[0] if pair else None


class _Frame(msgspec.Struct, kw_only=True, eq=False):
    node: Node
    key: Node | None = None
    merges: list[Node] = []


def parse(file: str, data: bytes) -> tuple[Node, list[Problem]]:
    """The tree of one YAML document, and problems that leave a tree to look at all the same.

    Raises SpecError where there is none.
    """
    return _Builder(file).build(decode(file, data))


def decode(file: str, data: bytes) -> str:
    """UTF-8 text without its mark. Raises SpecError that names the place of a wrong byte."""
    if len(data) > MAX_BYTES:
        raise failure(file, 0, 0, f"is {len(data) >> 20} MiB long; more than 16 MiB is no spec:"
                      " keep users in CSV files, `users: {file: users.csv}`")  # fmt: skip
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise failure(file, 1, 1, "this is UTF-16; save the file as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position(data[: error.start].decode("utf-8", "replace"))
        byte = data[error.start]
        raise failure(
            file, line, column, f"byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"
        ) from None
    if found := _UNPRINTABLE.search(text):
        line, column = _position(text[: found.start()])
        name = "NUL" if found[0] == "\0" else f"U+{ord(found[0]):04X}"
        raise failure(file, line, column, f"control character {name}; remove it")
    return text


def failure(file: str, line: int, column: int, text: str) -> SpecError:
    """A SpecError of one problem of the file itself."""
    return SpecError([Problem(file=file, line=line, column=column, path="", text=text)])


def _position(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


class _Builder:
    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.anchors: dict[str, Node | None] = {}
        self.stack: list[_Frame] = []
        self.names: list[str | None] = []
        self.root: Node | None = None
        self.aliased = 0

    def build(self, text: str) -> tuple[Node, list[Problem]]:
        documents = 0
        for event in self._events(text):
            kind = type(event).__name__
            line, column = event.start_mark.line + 1, event.start_mark.column + 1
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    raise failure(self.file, line, column, "a second document; a spec is one")
            elif kind == "ScalarEvent":
                self._scalar(event, line, column)
            elif kind in ("MappingStartEvent", "SequenceStartEvent"):
                self._open(event, line, column, mapping=kind == "MappingStartEvent")
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                self._close()
            elif kind == "AliasEvent":
                self._alias(str(event.anchor), line, column)
        if self.root is None:
            raise failure(
                self.file, 1, 1, "the file is empty; `pbxctl init` writes a spec to begin"
            )
        return self.root, self.problems

    def _events(self, text: str) -> Iterator[Any]:
        yaml = YAML(typ="safe", pure=True)
        try:
            yield from cast("Iterator[Any]", yaml.parse(text))  # pyright: ignore[reportUnknownMemberType]  # ruamel.yaml is half typed
        except MarkedYAMLError as error:
            raise self._syntax(error, text) from None
        except (YAMLError, ValueError, IndexError, AttributeError, AssertionError) as error:
            reason = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
            raise failure(self.file, 1, 1, f"not YAML: {reason}") from None

    def _syntax(self, error: MarkedYAMLError, text: str) -> SpecError:
        found = cast("Any", error)
        mark = found.problem_mark or found.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        lines = text.splitlines()
        written = lines[line - 1] if line <= len(lines) else ""
        indent = written[: len(written) - len(written.lstrip())]
        if "\t" in indent or written[column - 1 : column] == "\t":
            column = written.index("\t") + 1
            return failure(self.file, line, column, "a tab; YAML is indented with spaces")
        problem = str(found.problem or found.context or "it cannot be read")
        hint = ""
        if "mapping values are not allowed" in problem:
            hint = "; look for a missing quote around text with a colon, or for wrong indentation"
        elif "end of stream" in problem or "<stream end>" in problem:
            begun = found.context_mark or mark
            text = "not YAML: what begins here is not closed: a quote or bracket is missing"
            return failure(self.file, begun.line + 1, begun.column + 1, text)
        elif "expected <block end>" in problem or "did not find expected" in problem:
            hint = "; look at the indentation of this line and the one before"
        return failure(self.file, line, column, f"not YAML: {problem}{hint}")

    def _scalar(self, event: Any, line: int, column: int) -> None:
        raw = str(event.value)
        tag = str(event.tag) if event.tag else ""
        plain = event.style is None and not tag
        if tag and tag not in (STRING_TAG, "!"):
            self._problem(line, column, f"tag {printable(tag)}: a spec has no tags; remove it")
        value = resolve(raw) if plain else raw
        node = Node(line=line, column=column, scalar=value, raw=raw, plain=plain)
        if event.anchor:
            self.anchors[str(event.anchor)] = node
        self._place(node)

    def _open(self, event: Any, line: int, column: int, *, mapping: bool) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise failure(self.file, line, column, f"nested deeper than {MAX_DEPTH} levels")
        if event.tag:
            tag = printable(str(event.tag))
            self._problem(line, column, f"tag {tag}: a spec has no tags; remove it")
        node = Node(line=line, column=column)
        if mapping:
            node.mapping = {}
        else:
            node.sequence = []
        if event.anchor:
            self.anchors[str(event.anchor)] = None
        self.names.append(str(event.anchor) if event.anchor else None)
        self.stack.append(_Frame(node=node))

    def _close(self) -> None:
        frame = self.stack.pop()
        name = self.names.pop()
        node = frame.node
        for source in frame.merges:
            for key, pair in (source.mapping or {}).items():
                cast("dict[str, Any]", node.mapping).setdefault(key, pair)
        if name:
            self.anchors[name] = node
        self._place(node)

    def _alias(self, name: str, line: int, column: int) -> None:
        if name not in self.anchors:
            raise failure(self.file, line, column, f"alias *{printable(name)}: no such anchor")
        node = self.anchors[name]
        if node is None:
            raise failure(self.file, line, column, f"alias *{printable(name)}: inside itself")
        self.aliased += node.size
        if self.aliased > MAX_ALIASED or len(self.stack) + node.depth > MAX_DEPTH:
            raise failure(self.file, line, column, "aliases that grow without end")
        self._place(node)

    def _place(self, node: Node) -> None:
        if not self.stack:
            self.root = node
            return
        frame = self.stack[-1]
        frame.node.size += node.size
        frame.node.depth = max(frame.node.depth, node.depth + 1)
        if frame.node.sequence is not None:
            frame.node.sequence.append(node)
        elif frame.key is None:
            frame.key = node
        else:
            key, frame.key = frame.key, None
            self._pair(frame, key, node)

    def _pair(self, frame: _Frame, key: Node, node: Node) -> None:
        mapping = cast("dict[str, Any]", frame.node.mapping)
        if key.plain and key.raw == MERGE:
            sources = node.sequence if node.sequence is not None else [node]
            frame.merges.extend(sources)
            if any(source.mapping is None for source in sources):
                self._problem(node.line, node.column, "<<: expected an alias of a mapping")
            return
        if key.mapping is not None or key.sequence is not None:
            self._problem(key.line, key.column, "a key must be text")
            return
        if not isinstance(key.scalar, str):
            self._problem(
                key.line,
                key.column,
                f"key {printable(key.raw)}: {why_no_text(key.raw, key.scalar)}",
            )
        name = key.raw
        if name in mapping:
            first = mapping[name][0]
            where = f"line {first.line}"
            self._problem(key.line, key.column, f'"{printable(name)}" is here twice, first {where}')
            return
        mapping[name] = (key, node)

    def _problem(self, line: int, column: int, text: str) -> None:
        problem = Problem(file=self.file, line=line, column=column, path=self._path(), text=text)
        self.problems.append(problem)

    def _path(self) -> str:
        steps: list[str | int] = []
        for frame in self.stack[:-1]:
            if frame.node.sequence is not None:
                steps.append(len(frame.node.sequence))
            elif frame.key is not None:
                steps.append(frame.key.raw)
        return path_text(tuple(steps))

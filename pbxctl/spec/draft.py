"""A spec while it is being read: what could be understood, where it stood, and what was wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any, TypeVar, cast

import msgspec

from pbxctl.spec.model import Alerts, Install, Network, Server, Tenant, Trunk
from pbxctl.spec.problems import Path, Problem, Severity, Step, path_text
from pbxctl.spec.tree import Node
from services.core.configuration import Recording, Route, Security

T = TypeVar("T")


class Gone:
    """Stands where a value was that breaks the schema; what is beside it is still looked at."""


GONE = Gone()

MAX_PROBLEMS = 200
"""Of one kind of place, a CSV file say; a wrong export would print a million lines otherwise."""


class Missing(Exception):  # noqa: N818  # never leaves the package: no error, a way out
    """An element lacks what it needs, because that part was wrong and has been reported."""


class Report:
    """Collects problems, with the positions of what they are about."""

    def __init__(self, file: str, root: Node) -> None:
        self.file = file
        self.root = root
        self.problems: list[Problem] = []

    def add(
        self, path: Path, text: str, *, key: bool = False, severity: Severity = "error"
    ) -> None:
        """One problem at a path; ``key`` points at the key rather than its value."""
        node = self.root.find(path)
        if key and path and isinstance(path[-1], str):
            node = self.root.find(path[:-1]).key(path[-1]) or node
        self.problems.append(
            Problem(
                file=self.file,
                line=node.line,
                column=node.column,
                path=path_text(path),
                text=text,
                severity=severity,
            )
        )

    def warn(self, path: Path, text: str, *, key: bool = False) -> None:
        """What will run, but is likely not what was meant."""
        self.add(path, text, key=key, severity="warning")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a tenant's users come from: of user n, the list index or the CSV's line.

    ``whole``: every user could be read.
    """

    file: str = ""
    places: tuple[int, ...] = ()
    whole: bool = True


class Mention(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a menu names: of which ``kind``, and where it says so.

    ``silent``: a call comes there though nobody presses a key.
    """

    menu: str
    kind: str
    name: str
    path: Path
    silent: bool = False


class Mentions(msgspec.Struct, kw_only=True):
    """What a tenant's menus name; ``defines`` are the variables that they set."""

    names: list[Mention] = []
    defines: set[str] = set()


class Draft(msgspec.Struct, kw_only=True):
    """What could be read. List elements go with their index in the spec.

    ``names`` has every name that the spec gives, those of broken elements too, so that one mistake
    is not reported again wherever the name is used. ``complete``: nothing was left out.
    """

    cluster: str
    engine: str
    release: str
    install: Install
    max_calls: int
    network: Network
    servers: list[tuple[int, Server]]
    trunks: dict[str, Trunk]
    routes: list[tuple[int, Route]]
    security: Security
    recording: Recording
    alerts: Alerts
    tenants: list[tuple[int, Tenant]]
    sources: dict[int, Source]
    mentions: dict[int, Mentions]
    names: Names
    complete: bool


class Names(msgspec.Struct, kw_only=True):
    """Names as written. Extensions, ring groups, menus and hours by the tenant's index."""

    engine: str
    trunks: set[str]
    tenants: set[str]
    extensions: dict[int, set[str]]
    ring_groups: dict[int, set[str]]
    menus: dict[int, set[str]]
    hours: dict[int, set[str]]


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """What a spec refers to beside itself."""

    directory: FilePath
    environment: Mapping[str, str]


def prune(values: Any, path: Path) -> bool:
    """Take the value at ``path`` out; whether it was there. List indexes stay as they are."""
    if not path:
        return False
    above = values
    for step in path[:-1]:
        above = _child(above, step)
    last = path[-1]
    if isinstance(above, dict) and last in above:
        del above[last]
        return True
    if isinstance(above, list) and isinstance(last, int) and last < len(above):  # pyright: ignore[reportUnknownArgumentType]
        above[last] = GONE
        return True
    return False


def _child(value: Any, step: Step) -> Any:
    if isinstance(value, dict):
        return value.get(step)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if isinstance(value, list) and isinstance(step, int) and step < len(value):  # pyright: ignore[reportUnknownArgumentType]
        return value[step]  # pyright: ignore[reportUnknownVariableType]
    return None


def items(values: Any) -> Iterator[tuple[int, Any]]:
    """The elements of a list with their indexes, without those that were pruned."""
    for index, value in enumerate(cast("list[Any]", values or ())):
        if value is not GONE:
            yield index, value


def kept(values: Any) -> tuple[Any, ...]:
    """The elements of a list without those that were pruned."""
    return tuple(value for _, value in items(values))


def attempt(make: Callable[[], T]) -> T | None:
    """What ``make`` makes, or None where a part that it needs was wrong and reported."""
    try:
        return make()
    except (Missing, KeyError):
        return None

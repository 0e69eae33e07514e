"""What changes in the configuration, by what an operator knows it as: cluster, trunk, tenant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from pbxctl.deployment import Deployment
from pbxctl.plan.differences import between, full, words
from pbxctl.plan.value import Action, Change, Running
from services.core import configuration
from services.core.configuration import Cluster, Destination, Route, Tenant, Trunk
from services.core.menus import Hours, Menu

LIVE = "live, no restart"

Subject = tuple[str, str]
"""Kind (cluster, trunk, routes, tenant) and name."""

_KINDS: dict[str, tuple[str, Any]] = {
    "cluster": ("cluster", Cluster),
    "routes": ("routes", list[Route]),
    "trunks": ("trunk", Trunk),
    "tenants": ("tenant", Tenant),
    "numbers": ("tenant", dict[str, Destination]),
    "menus": ("tenant", Menu),
    "hours": ("tenant", Hours),
}
_PARTS = ("numbers", "menus", "hours")
"""Documents that are parts of a tenant: ``<kind>/<tenant>/<name>``."""
_ORDER = ("cluster", "trunk", "routes", "tenant", "document")


def changes(deployment: Deployment, running: Running) -> Iterable[Change]:
    """Changes of documents; none of them restarts anything."""
    was, is_ = _bytes(running.documents), _bytes(deployment.documents)
    old, new = _by_subject(running.documents), _by_subject(deployment.documents)
    for subject in sorted(old.keys() | new.keys(), key=lambda s: (_ORDER.index(s[0]), s[1])):
        kind, name = subject
        shown = deployment.cluster if kind == "cluster" else name or kind
        action: Action = "change"
        differences = {}
        if subject not in old:
            action, text = "add", _new(kind, name, deployment)
        elif subject not in new:
            action, text = "remove", f"{kind} removed"
            if kind == "tenant":
                text += ", with the spec's users"
        elif was[subject] == is_[subject]:
            continue
        else:
            differences = between(old[subject], new[subject])
            text = words(differences) or "written anew"
        # Of a cluster that is new there is nothing that could restart.
        effect = LIVE if running.jobs else ""
        yield Change(
            action=action, subject=shown, text=text, effect=effect, differences=differences
        )


def count(number: int, noun: str) -> str:
    """``1 user``, ``2 users``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _subject(key: str) -> Subject:
    kind, _, rest = key.partition("/")
    if kind not in _KINDS:
        return "document", key
    name = rest.partition("/")[0] if kind in _PARTS else rest
    return _KINDS[kind][0], name


def _by_subject(documents: Mapping[str, bytes]) -> dict[Subject, object]:
    """Documents as plain values; what belongs to a tenant is part of it, however it is cut."""
    found: dict[Subject, Any] = {}
    for key in sorted(documents, reverse=True):  # a tenant comes before its parts
        value = _plain(key, documents[key])
        part, _, name = key.partition("/")
        if part not in _PARTS:
            found[_subject(key)] = value
            continue
        tenant = found.setdefault(_subject(key), {})
        if isinstance(tenant, dict) and isinstance(value, dict):
            parts = cast("dict[str, object]", tenant.setdefault(part, {}))  # pyright: ignore[reportUnknownMemberType]  # JSON
            whole = cast("dict[str, object]", value)
            parts.update(whole if part == "numbers" else {name.partition("/")[2]: whole})
    return found


def _bytes(documents: Mapping[str, bytes]) -> dict[Subject, dict[str, bytes]]:
    found: dict[Subject, dict[str, bytes]] = {}
    for key, value in documents.items():
        found.setdefault(_subject(key), {})[key] = value
    return found


def _plain(key: str, data: bytes) -> object:
    kind = _KINDS.get(key.partition("/")[0])
    try:
        return full(configuration.decode(data, kind[1] if kind else Any))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Of another release, or somebody else's: different from anything of ours, so replaced.
        return {"unreadable": configuration.digest(data)}


def _new(kind: str, name: str, deployment: Deployment) -> str:
    if kind == "routes":
        routes = configuration.decode(deployment.documents["routes"], list[Route])
        return count(len(routes), "route")
    if kind != "tenant":
        return f"new {kind}"
    users = next((len(d.users) for d in deployment.directories if d.tenant == name), 0)
    numbers = sum(
        len(configuration.decode(value, dict[str, Destination]))
        for key, value in deployment.documents.items()
        if key.startswith(f"numbers/{name}/")
    )
    return f"new tenant: {count(users, 'user')}, {count(numbers, 'number')}"

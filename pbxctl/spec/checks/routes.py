"""Trunks and outbound routes."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from pbxctl.spec.draft import Draft, Report
from pbxctl.spec.formats import network
from pbxctl.spec.problems import suggestion
from services.core.configuration import Route

EMERGENCY_DIGITS = 6
"""Emergency numbers are short; 116117 is among the longest."""


def check(draft: Draft, report: Report) -> None:
    """Routes name trunks and tenants that there are, and no two claim one number."""
    first: dict[str, int] = {}
    for index, route in draft.routes:
        path = ("routes", index)
        if route.name in first:
            where = f"routes[{first[route.name]}]"
            report.add((*path, "name"), f'"{route.name}" is also the name of {where}')
        first.setdefault(route.name, index)
        _trunks(draft, report, index)
        _always(route, report, index)
        for position, tenant in enumerate(route.tenants):
            if tenant not in draft.names.tenants:
                near = suggestion(tenant, draft.names.tenants)
                text = f'no tenant is named "{tenant}"{near}'
                report.add((*path, "tenants", position), text)
    _patterns(draft, report)
    _unused(draft, report)
    _sources(draft, report)


def _always(route: Route, report: Report, index: int) -> None:
    """``always`` asks for no permission: right for emergency numbers, costly for others."""
    for position, pattern in enumerate(route.match if route.always else ()):
        if pattern.endswith("*") or pattern.startswith("+") or len(pattern) > EMERGENCY_DIGITS:
            text = f'"{pattern}" with `always: true`: every user may call it, whatever is permitted'
            report.warn(("routes", index, "match", position), text)


def _trunks(draft: Draft, report: Report, index: int) -> None:
    written = report.root.find(("routes", index, "trunks")).sequence or []
    seen: set[str] = set()
    for position, node in enumerate(written):
        named = node.child("name") if node.mapping is not None else node
        if named is None or not named.is_text:
            continue
        path = ("routes", index, "trunks", position)
        if named is not node:
            path = (*path, "name")
        if named.raw not in draft.names.trunks:
            near = suggestion(named.raw, draft.names.trunks)
            report.add(path, f'no trunk is named "{named.raw}"{near}')
        elif named.raw in seen:
            report.add(path, f'trunk "{named.raw}" is here twice')
        seen.add(named.raw)


def _patterns(draft: Draft, report: Report) -> None:
    owners: dict[tuple[str, bool], list[int]] = {}
    routes = dict(draft.routes)
    for index, route in draft.routes:
        for position, pattern in enumerate(route.match):
            for other in owners.setdefault((pattern, route.always), []):
                mine, theirs = set(route.tenants), set(routes[other].tenants)
                if other != index and (not mine or not theirs or mine & theirs):
                    text = f'"{pattern}" is in route "{routes[other].name}" too; which is meant?'
                    report.warn(("routes", index, "match", position), text)
                    break
            owners[pattern, route.always].append(index)


def _unused(draft: Draft, report: Report) -> None:
    if not draft.complete:
        return
    used = {trunk.trunk for _, route in draft.routes for trunk in route.trunks}
    for name in draft.trunks:
        if name not in used:
            text = "no route uses this trunk; it carries incoming calls only"
            report.warn(("trunks", name), text, key=True)


def _sources(draft: Draft, report: Report) -> None:
    """A call from an address must be one trunk's."""
    known: list[tuple[int, int, int, str, tuple[str | int, ...]]] = []
    for name, trunk in draft.trunks.items():
        try:
            peer = ip_network(ip_address(trunk.peer.host))
        except ValueError:
            pass
        else:
            known.append((*_span(peer), name, ("trunks", name, "peer")))
        for position, text in enumerate(trunk.addresses):
            path = ("trunks", name, "addresses", position)
            known.append((*_span(network(text)), name, path))
    # Networks are nested or apart: sorted, one that holds another comes right before it.
    around: list[tuple[int, int, int, str]] = []
    for version, start, negative_end, name, path in sorted(known, key=lambda k: k[:3]):
        while around and (around[-1][0] != version or -around[-1][2] < start):
            around.pop()
        others = [outer for outer in around if outer[3] != name]
        if others:
            text = f"trunk {others[-1][3]} has this address too; whose calls are those from there?"
            report.warn(path, text)
        around.append((version, start, negative_end, name))


def _span(net: object) -> tuple[int, int, int]:
    found = ip_network(str(net))
    return found.version, int(found.network_address), -int(found.broadcast_address)

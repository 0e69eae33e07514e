"""Where calls go: to what there is, and not in a circle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import msgspec

from pbxctl.spec.draft import Draft, Report, Source
from pbxctl.spec.model import Tenant
from pbxctl.spec.problems import Path, Problem, suggestion
from services.core.configuration import Destination

NO_KEY = "no key pressed"
"""Why a call leaves a menu by itself."""
FORWARDS = ("always", "busy", "no_answer", "not_registered")

Place = tuple[int, str, str]
"""A point a call can reach: tenant's index, kind of destination, target."""


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """``why`` is the setting that sends a call on; ``path`` and ``line`` are where it stands."""

    to: Place
    why: str
    path: Path
    line: int = 0


def check(draft: Draft, report: Report) -> None:
    """Every destination exists, and no chain of forwards comes back to where it began."""
    hops: dict[Place, list[Hop]] = {}
    public = {
        number: (index, target.kind, target.target)
        for index, tenant in draft.tenants
        for number, target in tenant.numbers.items()
    }
    for index, tenant in draft.tenants:
        known = _Known(draft, index, tenant)
        _numbers(tenant, index, known, report)
        _members(index, known, report, tenant)
        for place, hop, target in _forwards(tenant, index, draft.sources[index]):
            text = known.complaint(target)
            if text:
                _report(report, draft.sources[index], hop, text)
            elif target.kind == "number":
                if target.target in public:
                    hop = msgspec.structs.replace(hop, to=public[target.target])
                    hops.setdefault(place, []).append(hop)
            else:
                hops.setdefault(place, []).append(hop)
        _menus(index, known, public, draft, report, hops)
    names = {index: tenant.name for index, tenant in draft.tenants}
    for circle in circles(hops):
        _report_circle(circle, names, draft, report)


class _Known:
    """What a tenant has. Of users that could not all be read, nothing is said to be missing."""

    def __init__(self, draft: Draft, index: int, tenant: Tenant) -> None:
        self.tenant = tenant
        self.whole = draft.sources[index].whole
        self.extensions = draft.names.extensions[index] | {user.extension for user in tenant.users}
        self.groups = draft.names.ring_groups[index]
        self.menus = draft.names.menus[index]

    def complaint(self, target: Destination) -> str:
        if target.kind in ("extension", "voicemail"):
            return self.extension(target.target)
        if target.kind == "ring_group" and target.target not in self.groups:
            near = suggestion(target.target, self.groups)
            return f'no ring group of {self.tenant.name} is named "{target.target}"{near}'
        if target.kind == "menu" and target.target not in self.menus:
            near = suggestion(target.target, self.menus)
            return f'no menu of {self.tenant.name} is named "{target.target}"{near}'
        return ""

    def extension(self, extension: str) -> str:
        if extension in self.extensions or not self.whole:
            return ""
        near = suggestion(extension, self.extensions) if len(self.extensions) < 20_000 else ""
        return f'{self.tenant.name} has no extension "{extension}"{near}'


def _numbers(tenant: Tenant, index: int, known: _Known, report: Report) -> None:
    for number, target in tenant.numbers.items():
        if text := known.complaint(target):
            report.add(("tenants", index, "numbers", number, target.kind), text)


def _members(index: int, known: _Known, report: Report, tenant: Tenant) -> None:
    for name in tenant.ring_groups:
        base: Path = ("tenants", index, "ring_groups", name, "members")
        seen: set[str] = set()
        for position, node in enumerate(report.root.find(base).sequence or ()):
            member = node.child("extension") if node.mapping is not None else node
            if member is None or not member.is_text:
                continue
            path: Path = (*base, position)
            if text := known.extension(member.raw):
                report.add(path, text)
            elif member.raw in seen:
                report.add(path, f"{member.raw} is in the group twice")
            seen.add(member.raw)


def _forwards(
    tenant: Tenant, index: int, source: Source
) -> Iterator[tuple[Place, Hop, Destination]]:
    base: Path = ("tenants", index)
    for name, group in tenant.ring_groups.items():
        if group.then is not None:
            to = (index, group.then.kind, group.then.target)
            path: Path = (*base, "ring_groups", name, "then", group.then.kind)
            yield (index, "ring_group", name), Hop(to=to, why="then", path=path), group.then
    for order, user in enumerate(tenant.users):
        for why in FORWARDS:
            target: Destination | None = getattr(user.forward, why)
            if target is None:
                continue
            to = (index, target.kind, target.target)
            if source.file:
                hop = Hop(to=to, why=why, path=(f"forward_{why}",), line=source.places[order])
            else:
                at = (*base, "users", source.places[order], "forward", why, target.kind)
                hop = Hop(to=to, why=why, path=at)
            yield (index, "extension", user.extension), hop, target


def _menus(
    index: int,
    known: _Known,
    public: dict[str, Place],
    draft: Draft,
    report: Report,
    hops: dict[Place, list[Hop]],
) -> None:
    """Where calls go from menus; of what happens without a key, the hop."""
    for mention in draft.mentions[index].names:
        if mention.kind not in ("menu", "extension", "ring_group", "number", "voicemail"):
            continue
        target = Destination(kind=cast("Any", mention.kind), target=mention.name)
        if text := known.complaint(target):
            report.add(mention.path, text)
            continue
        to = public.get(mention.name) if mention.kind == "number" else (index, *_place(target))
        if mention.silent and to is not None:
            why = NO_KEY
            hop = Hop(to=to, why=why, path=mention.path)
            hops.setdefault((index, "menu", mention.menu), []).append(hop)


def _place(target: Destination) -> tuple[str, str]:
    return target.kind, target.target


def circles(hops: dict[Place, list[Hop]]) -> Iterator[list[tuple[Place, Hop]]]:
    """The circles that a depth-first walk meets: each as its places and the hop out of each."""
    done: set[Place] = set()
    for start in hops:
        if start in done:
            continue
        trail: list[tuple[Place, Iterator[Hop]]] = [(start, iter(hops[start]))]
        taken: list[Hop] = []
        on_trail: dict[Place, int] = {start: 0}
        while trail:
            place, rest = trail[-1]
            hop = next(rest, None)
            if hop is None:
                done.add(place)
                del on_trail[place]
                trail.pop()
                if taken:
                    taken.pop()
                continue
            if hop.to in on_trail:
                begin = on_trail[hop.to]
                places = [at for at, _ in trail[begin:]]
                yield list(zip(places, [*taken[begin:], hop], strict=True))
            elif hop.to not in done and hop.to in hops:
                taken.append(hop)
                on_trail[hop.to] = len(trail)
                trail.append((hop.to, iter(hops[hop.to])))


def _report_circle(
    circle: list[tuple[Place, Hop]], names: dict[int, str], draft: Draft, report: Report
) -> None:
    tenants = {place[0] for place, _ in circle}

    def name(place: Place) -> str:
        owner = f"{names[place[0]]}'s " if len(tenants) > 1 else ""
        return f"{owner}{place[1].replace('_', ' ')} {place[2]}"

    way = " → ".join(f"{name(place)} ({hop.why})" for place, hop in circle)
    first, hop = circle[0]
    text = f"calls go in a circle: {way} → {name(first)}"
    # Always and `then` leave no way out; the other forwards end when somebody answers.
    sure = all(hop.why in ("always", "then", NO_KEY) for _, hop in circle)
    _report(report, draft.sources[first[0]], hop, text, warning=not sure)


def _report(report: Report, source: Source, hop: Hop, text: str, *, warning: bool = False) -> None:
    severity = "warning" if warning else "error"
    if not hop.line:
        report.add(hop.path, text, severity=severity)
        return
    column = str(hop.path[0])
    report.problems.append(
        Problem(
            file=source.file, line=hop.line, column=1, path=column, text=text, severity=severity
        )
    )

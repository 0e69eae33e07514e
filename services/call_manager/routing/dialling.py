"""From what was dialled to what is meant: number plans, permissions, outbound routes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from services.core.configuration import NumberPlan, Permission, Route, Tenant, Trunk

E164_DIGITS = 15
"""ITU-T E.164: a number has at most 15 digits."""

_SEPARATORS = str.maketrans("", "", "-.() /")
_NUMBER = re.compile(r"\+?[0-9]{1,31}")
_RANK: dict[Permission, int] = {"internal": 0, "national": 1, "international": 2}


def digits(dialled: str) -> str | None:
    """A telephone number without its visual separators (RFC 3966 section 5.1.1), or None."""
    if len(dialled) > 64:
        return None
    bare = dialled.partition(";")[0].translate(_SEPARATORS)
    return bare if _NUMBER.fullmatch(bare) and bare.isascii() else None


def without_outside(number: str, plan: NumberPlan) -> str | None:
    """The number after the prefix for an outside line; None where that prefix is missing."""
    if number.startswith("+") or not plan.outside:
        return number
    rest = number.removeprefix(plan.outside)
    return rest if rest != number and rest else None


def normalise(number: str, plan: NumberPlan) -> str | None:
    """E.164 with plus of digits as a tenant's user dials them, or None if the plan gives none.

    The longer of the international and national prefixes is tried first, so that "011" is not read
    as national "0" and eleven.
    """
    bare = without_outside(number, plan)
    if bare is None:
        return None
    if bare.startswith("+"):
        return _e164(bare[1:])
    prefixes = [(plan.international, ""), (plan.national, plan.country)]
    for prefix, country in sorted(prefixes, key=lambda pair: -len(pair[0])):
        if prefix and bare.startswith(prefix):
            rest = bare[len(prefix) :]
            if not rest or (prefix == plan.national and not plan.country):
                return None
            return _e164(country + rest)
    # A plan without a national prefix (Spain, Italy, Denmark) dials national numbers as they are.
    if plan.country and not plan.national:
        return _e164(plan.country + bare)
    return None


def from_trunk(number: str, trunk: Trunk) -> Iterator[str]:
    """What a number that a carrier sent may mean, best first, as E.164 with plus."""
    bare = digits(number)
    if bare is None:
        return
    if bare.startswith("+"):
        candidates = [bare[1:]]
    else:
        candidates = [bare]
        if trunk.country:
            national = trunk.country + bare
            # Where every number has its prefix, one without is international without its plus.
            prefixed = trunk.national not in ("", trunk.country)
            candidates.insert(prefixed or bare.startswith(trunk.country), national)
        prefixes = [(trunk.international, "")]
        if trunk.country:
            prefixes.append((trunk.national, trunk.country))
        for prefix, country in sorted(prefixes, key=lambda pair: len(pair[0])):
            if prefix and bare.startswith(prefix):
                candidates.insert(0, country + bare[len(prefix) :])
    for candidate in dict.fromkeys(candidates):
        if found := _e164(candidate):
            yield found


def permission_for(number: str, plan: NumberPlan) -> Permission:
    """What calling a number takes. A plan that does not know its country calls abroad."""
    if number.startswith("+"):
        home = plan.country and number.startswith("+" + plan.country)
        return "national" if home else "international"
    return "national"


def allows(permission: Permission, needed: Permission) -> bool:
    return _RANK[permission] >= _RANK[needed]


def _e164(number: str) -> str | None:
    if not 2 <= len(number) <= E164_DIGITS or number.startswith("0"):
        return None
    return "+" + number


class Outbound(msgspec.Struct, frozen=True):
    """A route that fits: its name, and trunks with the number that each one wants, in order."""

    name: str
    always: bool
    trunks: tuple[tuple[str, str], ...]


class RouteTable:
    """Routes compiled for longest match. Made once a generation of the tables."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, list[Route]] = {}
        self._prefixes: dict[str, list[Route]] = {}
        self._always: dict[str, Route] = {}
        for route in routes:
            for pattern in route.match:
                if pattern.endswith("*"):
                    self._prefixes.setdefault(pattern[:-1], []).append(route)
                else:
                    self._exact.setdefault(pattern, []).append(route)
                if route.always:
                    self._always.setdefault(pattern, route)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes}, reverse=True)

    def emergency(self, dialled: str, tenant: str) -> Route | None:
        """The route that always goes through for these digits as dialled."""
        route = self._always.get(dialled)
        if route is not None:
            return route if not route.tenants or tenant in route.tenants else None
        for length in self._lengths:
            route = self._always.get(dialled[:length] + "*") if length <= len(dialled) else None
            if route is not None and (not route.tenants or tenant in route.tenants):
                return route
        return None

    def find(self, number: str, tenant: str) -> Route | None:
        """The longest match that the tenant may use; the spec's order decides between equals."""
        for route in self._exact.get(number, ()):
            if not route.tenants or tenant in route.tenants:
                return route
        for length in self._lengths:
            if length <= len(number):
                for route in self._prefixes.get(number[:length], ()):
                    if not route.tenants or tenant in route.tenants:
                        return route
        return None


def outbound(route: Route, number: str, trunks: Mapping[str, Trunk]) -> Outbound:
    """A route's trunks, least cost first, then in the spec's order; unknown ones left out."""
    ordered = sorted(route.trunks, key=lambda choice: choice.cost)
    return Outbound(
        name=route.name,
        always=route.always,
        trunks=tuple(
            (choice.trunk, presented(number, route, trunks[choice.trunk]))
            for choice in ordered
            if choice.trunk in trunks
        ),
    )


def presented(number: str, route: Route, trunk: Trunk) -> str:
    """The number as a trunk wants it. ``strip`` counts digits, the plus is not one of them.

    A number that the route has changed is no longer E.164 and has no plus but its own.
    """
    bare = number.removeprefix("+")
    changed = route.strip or route.prepend
    sent = route.prepend + bare[route.strip :] if changed else number
    return sent.removeprefix("+") if trunk.strip_plus else sent


def emergency_number(dialled: str, tenant: Tenant, routes: RouteTable) -> tuple[str, Route] | None:
    """The emergency number meant and its route; with or without the prefix for an outside line.

    A tenant's own emergency numbers go by the route that matches them, always or not.
    """
    outside = without_outside(dialled, tenant.plan)
    for number in (dialled, outside):
        if number is None:
            continue
        route = routes.emergency(number, tenant.name)
        if route is not None:
            return number, route
        if number in tenant.emergency:
            for meant in (number, normalise(dialled, tenant.plan)):
                route = routes.find(meant, tenant.name) if meant else None
                if meant and route is not None:
                    return meant, route
    return None

"""Tenants: what belongs to one of them only, and emergency numbers."""

from __future__ import annotations

from pbxctl.spec.draft import Draft, Report
from pbxctl.spec.model import Tenant
from pbxctl.spec.problems import Path, listing
from services.core.configuration import Route


def check(draft: Draft, report: Report) -> None:
    """Names, domains and numbers are one tenant's; emergency numbers have a route."""
    names: dict[str, int] = {}
    domains: dict[str, str] = {}
    numbers: dict[str, str] = {}
    for index, tenant in draft.tenants:
        path: Path = ("tenants", index)
        if tenant.name in names:
            where = f"tenants[{names[tenant.name]}]"
            report.add((*path, "name"), f'"{tenant.name}" is also the name of {where}')
        names.setdefault(tenant.name, index)
        for position, domain in enumerate(tenant.domains):
            if domain in domains:
                text = (
                    f'"{domain}" is also a domain of {domains[domain]}; phones could be of either'
                )
                report.add((*path, "domains", position), text)
            domains.setdefault(domain, tenant.name)
        for number in tenant.numbers:
            if number in numbers:
                text = f"{number} is also a number of {numbers[number]}"
                report.add((*path, "numbers", number), text, key=True)
            numbers.setdefault(number, tenant.name)
        _main_number(tenant, path, draft, report)
        _country(tenant, path, report)
        _emergency(tenant, path, draft, report)
        _shadowed(tenant, index, draft, report)
        _digest(tenant, path, draft, report)


def _main_number(tenant: Tenant, path: Path, draft: Draft, report: Report) -> None:
    if draft.complete and tenant.main_number and tenant.main_number not in tenant.numbers:
        text = f"{tenant.main_number} is not among the tenant's numbers; who calls back is not put"
        report.warn((*path, "main_number"), f"{text} through")


def _country(tenant: Tenant, path: Path, report: Report) -> None:
    if not tenant.dialling.country and any(u.permission == "national" for u in tenant.users):
        text = f"{tenant.name} has users with the permission national, but no dialling.country;"
        report.warn(path, f"{text} no number is national for them")


def _emergency(tenant: Tenant, path: Path, draft: Draft, report: Report) -> None:
    always = _always(draft, tenant)
    if draft.complete:
        for position, number in enumerate(tenant.emergency):
            if not any(matches(route, number) for route in always):
                text = f"{number} has no route with `always: true` that {tenant.name} may use"
                report.warn((*path, "emergency", position), f"{text}; it may fail when it matters")


def _shadowed(tenant: Tenant, index: int, draft: Draft, report: Report) -> None:
    """Extensions that a route with ``always`` takes."""
    always = _always(draft, tenant)
    for place, user in enumerate(tenant.users if always else ()):
        taken = next((route for route in always if matches(route, user.extension)), None)
        if taken:
            text = f'extension {user.extension} cannot be called: route "{taken.name}" takes it'
            source = draft.sources[index]
            at: Path = ("tenants", index, "users")
            if not source.file:
                at = (*at, source.places[place], "extension")
            report.warn(at, text)


def _digest(tenant: Tenant, path: Path, draft: Draft, report: Report) -> None:
    """HA1s that do not serve the algorithm a phone takes: the first offered (RFC 8760 2.4)."""
    if not draft.security.digest:
        return
    first = draft.security.digest[0]
    field = "ha1_sha256" if first == "SHA-256" else "ha1_md5"
    lacking = [
        user.extension
        for user in tenant.users
        if (user.ha1_md5 or user.ha1_sha256) and not getattr(user, field)
    ]
    if lacking:
        who = listing([*lacking[:3], f"{len(lacking) - 3} more"][: len(lacking)], "and")
        text = f"no {field} for {who}, but {first} is offered first (security.digest)"
        report.warn((*path, "users"), f"{text}: phones that take it cannot register")


def _always(draft: Draft, tenant: Tenant) -> list[Route]:
    return [
        route
        for _, route in draft.routes
        if route.always and (not route.tenants or tenant.name in route.tenants)
    ]


def matches(route: Route, number: str) -> bool:
    """Whether a pattern of the route fits the number as dialled."""
    return any(
        number.startswith(pattern[:-1]) if pattern.endswith("*") else number == pattern
        for pattern in route.match
    )

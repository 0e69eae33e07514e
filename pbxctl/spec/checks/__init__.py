"""What the schema cannot see: parts of a spec that do not fit one another."""

from __future__ import annotations

from pbxctl.spec.checks import (
    addresses,
    alerts,
    capacity,
    destinations,
    floating,
    menus,
    ports,
    prompts,
    routes,
    servers,
    tenants,
    voicemail,
)
from pbxctl.spec.draft import Draft, Report


def check(draft: Draft, report: Report) -> None:
    """Report everything that does not fit. What was left out of the draft is held against none."""
    of_servers = (servers, addresses, floating, ports, capacity)
    for part in (*of_servers, routes, tenants, destinations, menus, prompts, voicemail, alerts):
        part.check(draft, report)

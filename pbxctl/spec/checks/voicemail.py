"""Whether calls to voicemail boxes can be taken, and who dials for his own is understood."""

from __future__ import annotations

from collections.abc import Iterator

from pbxctl.spec.draft import Draft, Report
from pbxctl.spec.model import Tenant
from services.core.configuration import Destination

LONGEST = 600
"""Seconds of a message: what a Call Manager takes."""


def check(draft: Draft, report: Report) -> None:
    """Every tenant's boxes."""
    served = any("ivr" in server.roles for _, server in draft.servers)
    for index, tenant in draft.tenants:
        path = ("tenants", index, "voicemail")
        rules = tenant.voicemail
        wanted = any(one.kind == "voicemail" for one in _destinations(tenant))
        if (wanted or rules.extension) and not served and draft.complete:
            where = path if rules.extension else ("tenants", index)
            text = "voicemail needs an IVR server, and no server has the role ivr"
            report.add(where, text, key=bool(rules.extension))
        if not 1 <= rules.length <= LONGEST:
            report.add((*path, "length"), "expected a duration from 1s to 10m")
        taken = draft.names.extensions[index] | {menu.direct for menu in tenant.menus.values()}
        if rules.extension and rules.extension in taken:
            report.add((*path, "extension"), f"{rules.extension} is another extension already")


def _destinations(tenant: Tenant) -> Iterator[Destination]:
    yield from tenant.numbers.values()
    for group in tenant.ring_groups.values():
        if group.then is not None:
            yield group.then
    for user in tenant.users:
        forward = user.forward
        for one in (forward.always, forward.busy, forward.no_answer, forward.not_registered):
            if one is not None:
                yield one

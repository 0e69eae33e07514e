"""Servers: names, roles and how many of each; release."""

from __future__ import annotations

from pbxctl import __version__
from pbxctl.spec.draft import Draft, Report


def check(draft: Draft, report: Report) -> None:
    """Names are given once; the roles that a cluster needs are there, in a number that works."""
    _names(draft, report)
    if draft.complete:
        _roles(draft, report)
    for index, server in draft.servers:
        if "media" not in server.roles and server.media_address != server.address:
            path = ("servers", index, "media_address")
            report.warn(path, f"{server.name} has no role media, so this is not used")
    if draft.engine == "local" and draft.release not in ("", __version__):
        text = f"{draft.release}: this machine has release {__version__}; leave it out to run that"
        report.add(("release",), text)


def _names(draft: Draft, report: Report) -> None:
    first: dict[str, int] = {}
    for index, server in draft.servers:
        if server.name in first:
            where = f"servers[{first[server.name]}]"
            report.add(("servers", index, "name"), f'"{server.name}" is also the name of {where}')
        first.setdefault(server.name, index)


def _why_not(managers: int) -> str:
    """Why only one call manager or three can agree on who holds the VIP."""
    if managers == 2:
        return "one or three: of two, neither can outvote the other"
    if managers % 2 == 0:
        return "one or three: an even number can split into halves, and neither outvotes the other"
    return "one or three: one carries all calls, two more outvote it when it fails"


def _roles(draft: Draft, report: Report) -> None:
    managers = [server for _, server in draft.servers if "call-manager" in server.roles]
    media = [server for _, server in draft.servers if "media" in server.roles]
    if not managers:
        report.add(("servers",), "no server has the role call-manager; one or three are needed")
    elif draft.engine == "local" and len(managers) > 1:
        names = ", ".join(server.name for server in managers)
        text = f"{len(managers)} call managers ({names}); on one machine there is one"
        report.add(("servers",), text)
    elif len(managers) not in (1, 3):
        report.add(("servers",), f"{len(managers)} call managers; {_why_not(len(managers))}")
    if not media:
        report.add(("servers",), "no server has the role media; calls would have no audio")

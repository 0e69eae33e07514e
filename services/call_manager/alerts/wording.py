"""What a mail says, to somebody who was asleep: pure.

What failed and since when, what the PBX has done about it, how many calls it touches, and what to
look at, with the command.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec

from services.call_manager.alerts.incidents import STEADY, WINDOW, Incident

NAMES = {
    "call-manager": "Call Manager",
    "media": "media server",
    "database": "database server",
    "live": "live state",
    "ivr": "IVR server",
    "queue": "queue server",
    "meeting": "meeting server",
}
WORKERS = ("media", "ivr", "queue", "meeting")
"""Roles among whose servers the Call Managers spread calls."""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What the VIP's holder knows of the cluster. ``servers``: those that are well, by role.

    ``calls`` are up in all, ``loads`` those on a server by (role, server); ``carriers``: who
    carries a media server's calls, where another does.
    """

    cluster: str
    holder: str
    vip: str
    calls: int
    servers: Mapping[str, Sequence[str]]
    loads: Mapping[tuple[str, str], int] = {}
    carriers: Mapping[str, str] = {}


def name_of(key: str) -> str:
    """What failed, in a few words: ``media server ms1``."""
    kind, _, rest = key.partition("/")
    if kind == "trunk":
        return f"trunk {rest}"
    if kind in ("server", "trouble"):
        role, _, server = rest.partition("/")
        return f"{NAMES.get(role, role)} {server}"
    return "the database"


def subject(incidents: Sequence[Incident], mail: str, scene: Scene) -> str:
    """The subject of a mail about failures (``failed``) or their end (``over``)."""
    names = [name_of(one.key) for one in incidents]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    verb = _verb(incidents, mail)
    return f"[{scene.cluster}] {shown} {verb}"


def _verb(incidents: Sequence[Incident], mail: str) -> str:
    many = len(incidents) > 1
    if mail == "over":
        if all(one.end == "left" for one in incidents):
            return "have left" if many else "has left"
        return "are well again" if many else "is well again"
    if any(one.flapping for one in incidents):
        return "fail again and again" if many else "fails again and again"
    if all(one.key.startswith("trouble/") for one in incidents):
        return "need attention" if many else "needs attention"
    return "have failed" if many else "has failed"


def text(incidents: Sequence[Incident], mail: str, scene: Scene, wall: float) -> str:
    """The body of the mail that has this `subject`; ``wall`` is the Unix time now."""
    told = _over if mail == "over" else _failed
    parts = [told(one, scene, wall) for one in incidents]
    end = [
        f"Cluster {scene.cluster}: {_count(scene.calls, 'call')} up now"
        + (f", VIP {scene.vip} on {scene.holder}." if scene.holder else "."),
        "",
        "Look:",
        *_commands(incidents, scene.cluster, mail),
    ]
    return "\n\n".join(["\n".join(part) for part in parts] + ["\n".join(end)])


def _failed(one: Incident, scene: Scene, wall: float) -> list[str]:
    lines = [
        f"{_capital(name_of(one.key))}: {one.reason or 'no reason is known'}",
        f"Since {_clock(one.since)} ({_span(wall - one.since)} ago).",
    ]
    if one.flapping:
        lines.append(
            f"It has failed {len(one.failures)} times within {_span(WINDOW)}: you will hear of it "
            f"again when it has been well for {_span(STEADY)}."
        )
    return [*lines, "", *_done(one.key, scene)]


def _over(one: Incident, scene: Scene, wall: float) -> list[str]:  # noqa: ARG001  as `_failed`
    lasted = _span(one.ended - one.since)
    if one.end == "left":
        return [
            f"{_capital(name_of(one.key))} is not part of the cluster any more, {lasted} after it "
            f"failed at {_clock(one.since)}."
        ]
    lines = [
        f"{_capital(name_of(one.key))} is well again and back in service.",
        f"It failed at {_clock(one.since)}: {one.reason or 'no reason is known'}",
        f"Well again for a while at {_clock(one.ended)}, {lasted} later.",
    ]
    relapses = [at for at in one.failures if at > one.since + 1]
    if relapses:
        again = _count(len(relapses), "more time")
        lines.append(f"Between the two it failed {again}, last at {_clock(relapses[-1])}.")
    return lines


def _done(key: str, scene: Scene) -> list[str]:
    kind, _, rest = key.partition("/")
    if kind == "trunk":
        return [
            "Calls over it go to the next trunk of their route; numbers that only this trunk",
            "reaches cannot be called, and the carrier cannot reach us by it.",
        ]
    if kind == "database":
        return [
            "Calls go on: routing has its own copy of users and configuration. Changes of users",
            "are refused; call records wait on the Call Managers' disks and are written later.",
        ]
    role, _, server = rest.partition("/")
    if kind == "trouble":
        return ["It stays in service; calls on it go on."]
    return _left_out(role, server, scene)


def _left_out(role: str, server: str, scene: Scene) -> list[str]:
    others = [name for name in scene.servers.get(role, ()) if name != server]
    names = ", ".join(others[:8]) + (f" and {len(others) - 8} more" if len(others) > 8 else "")
    what = NAMES.get(role, role)
    if role == "call-manager":
        if server == scene.holder:
            return ["No other Call Manager could take over: phones and trunks get no answer."]
        return [
            f"{scene.holder or 'Another Call Manager'} takes the calls. Calls that were up go on:",
            "they do not pass through the Call Manager.",
        ]
    if role in ("database", "live"):
        what = "PostgreSQL" if role == "database" else "Redis"
        rest = f"on {names}" if others else "nowhere else"
        return [f"{what} goes on {rest}; if the primary was here, another takes its place."]
    lines: list[str] = []
    if role in WORKERS:
        lines.append(
            f"New calls go to {names}." if others else f"No other {what} is left for new calls."
        )
    load = scene.loads.get((role, server))
    if load:
        lines.append(f"It had {_count(load, 'call')}.")
    carrier = scene.carriers.get(server) if role == "media" else None
    if carrier:
        lines.append(f"{carrier} carries on with its calls.")
    return lines or ["It is left out until it is well again."]


def _commands(incidents: Sequence[Incident], cluster: str, mail: str) -> list[str]:
    option = f"--cluster {cluster}"
    found = [f"  pbxctl status {option}"]
    if mail == "over":
        return found
    logs: dict[str, None] = {}
    disable: dict[str, None] = {}
    for one in incidents:
        kind, _, rest = one.key.partition("/")
        role, _, server = rest.partition("/")
        if kind == "trunk":
            found.append(f"  pbxctl trunks {option}")
        elif kind != "database":
            logs[f"  pbxctl logs {server} {option}"] = None
            if kind == "server":
                disable[f"  pbxctl server disable {server} --role {role} {option}"] = None
    found = [*dict.fromkeys(found), *logs]
    if disable:
        found += ["To work on it without more mails:", *disable]
    return found


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def _span(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

"""From plain values to a tenant, its users with it."""

from __future__ import annotations

from typing import Any, cast

from pbxctl.spec import secrets
from pbxctl.spec.draft import Inputs, Mentions, Missing, Report, Source, attempt, items, kept
from pbxctl.spec.hours import read_hours
from pbxctl.spec.menus import MenuReader
from pbxctl.spec.model import Dialling, Tenant
from pbxctl.spec.problems import Path, printable
from pbxctl.spec.units import days, seconds
from pbxctl.spec.users import read_users
from services.core.configuration import (
    Destination,
    Forward,
    Prompts,
    RingGroup,
    RingMember,
    User,
    Voicemail,
    ha1,
)

Values = dict[str, Any]


def read_tenant(
    raw: Values, path: Path, inputs: Inputs, report: Report
) -> tuple[Tenant, Source, Mentions]:
    """A tenant, where its users stood, and what its menus name.

    Raises Missing or KeyError if a needed part is gone.
    """
    name = raw.get("name", "")
    domains = kept(raw.get("domains"))
    realm = domains[0] if domains else ""
    users, source = _users(raw.get("users", []), (*path, "users"), name, realm, inputs, report)
    if not name or not domains:
        raise Missing
    numbers = {n: attempt(lambda d=d: destination(d)) for n, d in raw.get("numbers", {}).items()}
    groups = {g: attempt(lambda v=v: _group(v)) for g, v in raw.get("ring_groups", {}).items()}
    menus = MenuReader(raw.get("language", "en"), raw.get("hours", {}), inputs, report)
    tenant = Tenant(
        name=name,
        domains=domains,
        language=raw.get("language", "en"),
        main_number=raw.get("main_number", ""),
        dialling=Dialling(**raw.get("dialling", {})),
        max_calls=raw.get("max_calls", 0),
        users=users,
        numbers={n: found for n, found in numbers.items() if found is not None},
        ring_groups={g: found for g, found in groups.items() if found is not None},
        menus=menus.read(raw.get("menus", {}), (*path, "menus")),
        hours=read_hours(raw.get("hours", {}), (*path, "hours"), inputs, report),
        sounds=menus.sounds,
        authorizations=menus.authorizations,
        emergency=kept(raw.get("emergency")),
        record=raw.get("record", False),
        voicemail=_voicemail(raw.get("voicemail", {})),
        prompts=_prompts(raw.get("prompts", {})),
    )
    return tenant, source, menus.mentions


def _voicemail(raw: Values) -> Voicemail:
    return Voicemail(
        extension=raw.get("extension", ""),
        keep=days(raw.get("keep", "30d")),
        messages=raw.get("messages", 100),
        length=seconds(raw.get("length", "180s")),
        email=raw.get("email", "attach"),
    )


def _prompts(raw: Values) -> Prompts:
    return Prompts(
        extension=raw.get("extension", ""),
        users=kept(raw.get("users")),
        numbers=raw.get("numbers", {}),
    )


def destination(raw: Values) -> Destination:
    """``{extension: "2001"}`` as a destination. Raises Missing if its content was wrong."""
    for kind, target in raw.items():
        return Destination(kind=cast("Any", kind), target=target)
    raise Missing


def _group(raw: Values) -> RingGroup:
    members = tuple(
        RingMember(extension=member)
        if isinstance(member, str)
        else RingMember(extension=member["extension"], priority=member.get("priority", 1))
        for member in kept(raw["members"])
    )
    return RingGroup(
        members=members,
        strategy=raw.get("strategy", "simultaneous"),
        timeout=seconds(raw.get("timeout", "25s")),
        then=attempt(lambda: destination(raw["then"])) if "then" in raw else None,
    )


def _users(
    raw: Any, path: Path, tenant: str, realm: str, inputs: Inputs, report: Report
) -> tuple[tuple[User, ...], Source]:
    if isinstance(raw, dict):
        return _from_file(cast("Values", raw), path, tenant, realm, inputs, report)
    users: list[User] = []
    places: list[int] = []
    seen: dict[str, int] = {}
    for index, value in items(raw):
        user = attempt(lambda v=value, i=index: _user(v, (*path, i), tenant, realm, inputs, report))
        if user is None:
            continue
        if user.extension in seen:
            line = report.root.find((*path, seen[user.extension])).line
            text = f'"{user.extension}" is here twice, first in line {line}'
            report.add((*path, index, "extension"), text)
            continue
        seen[user.extension] = index
        users.append(user)
        places.append(index)
    whole = isinstance(report.root.find(path).sequence, list)
    return tuple(users), Source(places=tuple(places), whole=whole or not raw)


def _from_file(
    raw: Values, path: Path, tenant: str, realm: str, inputs: Inputs, report: Report
) -> tuple[tuple[User, ...], Source]:
    name = raw.get("file", "")
    if not name:
        return (), Source(whole=False)
    file = inputs.directory / name
    try:
        data = file.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such file"
        report.add((*path, "file"), f"cannot read {printable(name)}: {reason}")
        return (), Source(whole=False)
    found = read_users(str(file), data, tenant, realm)
    report.problems.extend(found.problems)
    source = Source(file=str(file), places=tuple(found.lines), whole=not found.problems)
    return tuple(found.users), source


def _user(raw: Values, path: Path, tenant: str, realm: str, inputs: Inputs, report: Report) -> User:
    extension = raw["extension"]
    md5, sha256 = raw.get("ha1_md5", ""), raw.get("ha1_sha256", "")
    if "password" in raw and (md5 or sha256):
        report.add((*path, "password"), "give the password or its HA1s, not both", key=True)
        md5 = sha256 = ""
    elif "password" in raw:
        password = attempt(
            lambda: secrets.resolve(raw["password"], (*path, "password"), inputs, report)
        )
        if password and realm:
            md5 = ha1(extension, realm, password.value, "MD5")
            sha256 = ha1(extension, realm, password.value, "SHA-256")
    return User(
        tenant=tenant,
        extension=extension,
        name=raw.get("name", ""),
        email=raw.get("email", ""),
        ha1_md5=md5,
        ha1_sha256=sha256,
        permission=raw.get("permission", "internal"),
        max_calls=raw.get("max_calls", 0),
        caller_id=raw.get("caller_id", ""),
        do_not_disturb=raw.get("do_not_disturb", False),
        forward=_forward(raw.get("forward", {})),
        record=raw.get("record", False),
        enabled=raw.get("enabled", True),
    )


def _forward(raw: Values) -> Forward:
    def to(name: str) -> Destination | None:
        return attempt(lambda: destination(raw[name])) if name in raw else None

    return Forward(
        always=to("always"),
        busy=to("busy"),
        no_answer=to("no_answer"),
        no_answer_after=seconds(raw.get("no_answer_after", "20s")),
        not_registered=to("not_registered"),
    )

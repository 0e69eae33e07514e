"""Menus: what they name exists, each can be reached, and keys can be told apart."""

from __future__ import annotations

from pbxctl.spec.draft import Draft, Mentions, Report
from pbxctl.spec.model import Tenant
from pbxctl.spec.problems import Path, suggestion
from services.core import configuration
from services.core.menus import BUILT_IN, Menu

MOST_BYTES = 400 * 1024
"""Of one document; Consul refuses values over 512 KiB."""


def check(draft: Draft, report: Report) -> None:
    """Report what does not fit. Where calls go from menus is looked at by `destinations`."""
    servers = any("ivr" in server.roles for _, server in draft.servers)
    for index, tenant in draft.tenants:
        path: Path = ("tenants", index, "menus")
        if tenant.menus and draft.complete and not servers:
            text = "menus need an IVR server, and no server has the role ivr"
            report.add(path, text, key=True)
        _names(index, draft.mentions[index], draft, report)
        _direct(tenant, path, report)
        for name, menu in tenant.menus.items():
            _keys(menu, tenant, (*path, name), report)
            if draft.complete:
                _silent(menu, (*path, name), report)
            _size(menu, (*path, name), report)
        if draft.complete:
            _unreachable(index, tenant, draft, report)


def _names(index: int, mentions: Mentions, draft: Draft, report: Report) -> None:
    known = {
        "hours": ("hours", draft.names.hours[index]),
        "variable": ("variable", {*BUILT_IN, *mentions.defines}),
    }
    for mention in mentions.names:
        if mention.kind in known:
            noun, names = known[mention.kind]
            if mention.name not in names:
                near = suggestion(mention.name, sorted(names))
                verb = "are" if mention.kind == "hours" else "is"
                report.add(mention.path, f'no {noun} {verb} named "{mention.name}"{near}')


def _direct(tenant: Tenant, path: Path, report: Report) -> None:
    taken = {user.extension: "a user" for user in tenant.users}
    for name, menu in tenant.menus.items():
        if not menu.direct:
            continue
        if owner := taken.get(menu.direct):
            text = f"{menu.direct} is the extension of {owner} already"
            report.add((*path, name, "extension"), text)
        taken.setdefault(menu.direct, f"the menu {name}")


def _keys(menu: Menu, tenant: Tenant, path: Path, report: Report) -> None:
    for keys in menu.keys:
        shorter = next((k for k in menu.keys if k != keys and keys.startswith(k)), None)
        if shorter is not None:
            text = f'"{keys}" begins with "{shorter}", which is a choice of its own: who presses'
            text += f' "{shorter}" would have to wait; give one of them other keys'
            report.add((*path, "keys", keys), text, key=True)
        begun = next((u.extension for u in tenant.users if u.extension.startswith(keys)), None)
        if menu.extensions and begun is not None:
            text = f'"{keys}" is also how extension {begun} begins: who presses it waits'
            report.warn((*path, "keys", keys), f"{text} {menu.between} s", key=True)


def _silent(menu: Menu, path: Path, report: Report) -> None:
    if not menu.asks and not menu.before and not menu.otherwise:
        report.warn(path, "neither keys nor actions: the call ends after the prompt", key=True)


def _size(menu: Menu, path: Path, report: Report) -> None:
    size = len(configuration.encode(menu))
    if size > MOST_BYTES:
        text = f"is {size >> 10} KiB as a document, and {MOST_BYTES >> 10} KiB is the most"
        report.add(path, f"{text}; make several menus of it", key=True)


def _unreachable(index: int, tenant: Tenant, draft: Draft, report: Report) -> None:
    targets = [*tenant.numbers.values()]
    targets += [group.then for group in tenant.ring_groups.values() if group.then]
    for user in tenant.users:
        forward = user.forward
        ways = (forward.always, forward.busy, forward.no_answer, forward.not_registered)
        targets += [way for way in ways if way]
    waiting = [target.target for target in targets if target.kind == "menu"]
    waiting += [name for name, menu in tenant.menus.items() if menu.direct]
    onward: dict[str, list[str]] = {}
    for mention in draft.mentions[index].names:
        if mention.kind == "menu":
            onward.setdefault(mention.menu, []).append(mention.name)
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(onward.get(name, ()))
    for name in tenant.menus:
        if name not in reached:
            text = "no number, extension, forward, ring group or menu leads here"
            report.warn(("tenants", index, "menus", name), text, key=True)

"""Prompts that are recorded by phone: they are there, and so is who may record them."""

from __future__ import annotations

from pbxctl.spec.draft import Draft, Report
from pbxctl.spec.model import Tenant
from pbxctl.spec.problems import Path, suggestion


def check(draft: Draft, report: Report) -> None:
    """Every tenant's prompts."""
    for index, tenant in draft.tenants:
        mentions = draft.mentions[index].names
        names = {each.name for each in mentions if each.kind == "prompt"}
        _rules(tenant, names, index, draft, report)
        for mention in mentions:
            if mention.kind == "prompt" and mention.name not in tenant.prompts.numbers.values():
                text = "no number of the tenant's prompts leads here: it is never recorded"
                report.warn(mention.path, text)


def _rules(tenant: Tenant, names: set[str], index: int, draft: Draft, report: Report) -> None:
    path: Path = ("tenants", index, "prompts")
    rules = tenant.prompts
    for number, name in rules.numbers.items():
        if name not in names and draft.complete:
            near = suggestion(name, sorted(names))
            text = f'no sound of a menu is named "{name}"{near}'
            report.add((*path, "numbers", number), text)
    extensions, whole = draft.names.extensions[index], draft.sources[index].whole
    for position, user in enumerate(rules.users):
        if user not in extensions and whole:
            text = f'{tenant.name} has no extension "{user}"'
            report.add((*path, "users", position), text)
    if not rules.extension:
        return
    menus = {menu.direct for menu in tenant.menus.values()}
    if rules.extension in extensions | menus | {tenant.voicemail.extension}:
        report.add((*path, "extension"), f"{rules.extension} is another extension already")
    if draft.complete and not (rules.users and rules.numbers):
        lacking = "users" if rules.numbers else "numbers"
        report.warn((*path, "extension"), f"there are no {lacking}: nothing can be recorded there")

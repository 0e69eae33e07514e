"""Documents in the key-value store → every tenant's book, or none. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from services.core.assembly import gather, read, told
from services.core.configuration import Tenant
from services.core.menus import AnyStep, Hours, Menu, Prompt, Sound, Steps, below
from services.ivr.call import Book


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """``books`` by tenant; None unless all of a manifest could be read, see ``problems``."""

    manifest_digest: str = ""
    books: dict[str, Book] | None = None
    problems: tuple[str, ...] = ()


def shelve(documents: Mapping[str, bytes]) -> Shelf:
    """``documents`` maps keys relative to ``config/`` to their bytes, the manifest among them."""
    whole = gather(documents)
    if whole.documents is None:
        return Shelf(manifest_digest=whole.manifest_digest, problems=whole.problems)
    problems: list[str] = []
    tenants: dict[str, Tenant] = {}
    menus: dict[str, dict[str, Menu]] = {}
    hours: dict[str, dict[str, Hours]] = {}
    for key, raw in whole.documents.items():
        match key.split("/"):
            case ["tenants", name]:
                if (tenant := read(key, raw, Tenant, problems)) is not None:
                    tenants[name] = tenant
            case ["menus", owner, name]:
                if (menu := read(key, raw, Menu, problems)) is not None:
                    menus.setdefault(owner, {})[name] = menu
            case ["hours", owner, name]:
                if (found := read(key, raw, Hours, problems)) is not None:
                    hours.setdefault(owner, {})[name] = found
            case _:
                pass
    books = {
        name: Book(
            tenant=name,
            language=tenant.language,
            menus=menus.get(name, {}),
            hours=hours.get(name, {}),
        )
        for name, tenant in tenants.items()
    }
    return Shelf(
        manifest_digest=whole.manifest_digest,
        books=None if problems else books,
        problems=told(problems),
    )


def sounds(books: Mapping[str, Book]) -> set[tuple[str, Sound]]:
    """Everything that menus may play: pairs of language and sound."""
    found: set[tuple[str, Sound]] = set()
    for book in books.values():
        for menu in book.menus.values():
            for prompt in (menu.prompt, menu.quiet, menu.wrong):
                found.update(prompt.items())
            for steps in (menu.before, menu.otherwise, *menu.keys.values()):
                for step in _all(steps):
                    for prompt in _prompts(step):
                        found.update(prompt.items())
    return found


def _all(steps: Steps) -> Iterator[AnyStep]:
    for step in steps:
        yield step
        for inside in below(step).values():
            yield from _all(inside)


def _prompts(step: AnyStep) -> Iterator[Prompt]:
    for name in ("prompt", "wrong"):
        if (prompt := getattr(step, name, None)) is not None:
            yield prompt

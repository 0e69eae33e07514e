"""Documents in the key-value store → every tenant's book, or none. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

import msgspec

from services.core.assembly import gather, read, told
from services.core.configuration import RecordedPrompt, Tenant, decode
from services.core.menus import Hours, Menu, Sound, prompts_in
from services.ivr.call import Book

Recorded = Mapping[tuple[str, str], RecordedPrompt]
"""By tenant and name of the prompt."""


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
            rules=tenant.prompts,
            named=_named(menus.get(name, {})),
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
        for language, sound in _sounds(book.menus):
            found.add((language, sound))
            found.add((language, book.now(sound)))
    return found


def recorded(books: Mapping[str, Book], prompts: Recorded) -> dict[str, Book]:
    """The books with what was recorded by phone, as far as their specs still name it."""
    found: dict[str, Book] = {}
    for tenant, book in books.items():
        own = {
            name: Sound(digest=prompts[tenant, name].digest)
            for name in book.named
            if (tenant, name) in prompts
        }
        found[tenant] = msgspec.structs.replace(book, recorded=own)
    return found


def prompts(entries: Mapping[str, bytes]) -> Recorded:
    """``entries`` maps keys relative to ``prompts/`` to their bytes; what is broken counts not."""
    found: dict[tuple[str, str], RecordedPrompt] = {}
    for key, raw in entries.items():
        tenant, _, name = key.partition("/")
        with suppress(msgspec.DecodeError):
            found[tenant, name] = decode(raw, RecordedPrompt)
    return found


def _sounds(menus: Mapping[str, Menu]) -> Iterator[tuple[str, Sound]]:
    for menu in menus.values():
        for prompt in prompts_in(menu):
            yield from prompt.items()


def _named(menus: Mapping[str, Menu]) -> dict[str, tuple[str, Sound]]:
    return {sound.name: (language, sound) for language, sound in _sounds(menus) if sound.name}

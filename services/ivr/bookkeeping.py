"""Keeps what tenants have set up: the configuration, and prompts that were recorded by phone."""

from __future__ import annotations

import logging

import trio

from services.core.configuration import RecordedPrompt, prefix
from services.core.discovery import Registry
from services.ivr import books
from services.ivr.books import Recorded, Shelf
from services.ivr.call import Book
from services.ivr.library import Library
from services.ivr.status import State

log = logging.getLogger(__name__)

AGAIN = 1.0
"""Seconds until sounds that are not in the store yet are asked for again."""


class Bookkeeping:
    """`book` is what is in force. `run` has to run."""

    def __init__(self, cluster: str, registry: Registry, library: Library, state: State) -> None:
        self._root = prefix(cluster)
        self._registry = registry
        self._library = library
        self._state = state
        self._shelf = Shelf()
        self._recorded: Recorded = {}
        self._books: dict[str, Book] = {}
        self._fresh = trio.Event()

    def book(self, tenant: str) -> Book:
        """A tenant's; without anything in it where there is none of that name."""
        return self._books.get(tenant) or Book(tenant=tenant)

    async def run(self) -> None:
        """Follow the registry for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_configuration)
            nursery.start_soon(self._follow_prompts)
            nursery.start_soon(self._take_up)

    async def _follow_configuration(self) -> None:
        root = f"{self._root}config/"
        async for values in self._registry.watch(root):
            found = books.shelve({key.removeprefix(root): raw for key, raw in values.items()})
            if found.books is None:
                # Documents come before the manifest that names them: for a moment they do not fit.
                log.info("the configuration stays as it was: %s", "; ".join(found.problems))
                continue
            self._shelf = found
            self._fresh.set()

    async def _follow_prompts(self) -> None:
        root = f"{self._root}prompts/"
        async for values in self._registry.watch(root):
            self._recorded = books.prompts({k.removeprefix(root): raw for k, raw in values.items()})
            self._fresh.set()

    async def _take_up(self) -> None:
        """Put a configuration in force when all that it plays can be heard.

        A recorded prompt that cannot be had keeps nothing else back: callers hear the spec's.
        """
        while True:
            await self._fresh.wait()
            self._fresh = trio.Event()
            shelf = self._shelf
            if shelf.books is None:
                continue
            try:
                lacking = await self._put_in_force(shelf.books)
            except LookupError as error:
                lacking = f"the configuration stays as it was: {error}"
            else:
                if self._state.in_force != shelf.manifest_digest:
                    log.info("configuration %s is in force", shelf.manifest_digest[:12])
                self._state.in_force = shelf.manifest_digest
            self._state.tell("configuration", lacking)
            if lacking:
                with trio.move_on_after(AGAIN):
                    await self._fresh.wait()
                self._fresh.set()

    async def _put_in_force(self, wanted: dict[str, Book]) -> str:
        """What of the recorded prompts cannot be had, or nothing. Raises LookupError."""
        there: dict[tuple[str, str], RecordedPrompt] = {}
        problem = ""
        for (tenant, name), prompt in self._recorded.items():
            try:
                await self._library.fetch(prompt.digest)
                there[tenant, name] = prompt
            except LookupError as error:
                problem = f"the recorded prompt {name} of {tenant} cannot be had: {error}"
        wanted = books.recorded(wanted, there)
        await self._library.keep(books.sounds(wanted))
        self._books = wanted
        return problem

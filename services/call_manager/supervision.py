"""Keeps the agent's watchers running: none dies silently, and none takes the others with it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
CALM = 60.0
"""Seconds without a failure after which the pauses begin anew."""


class Supervisor:
    """Runs watchers for ever. ``problems`` says which of them are failing, and why."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}

    async def run(self, name: str, watcher: Callable[[], Awaitable[None]]) -> None:
        """Run ``watcher``, and again after a pause whenever it fails or returns."""
        pause = FIRST_PAUSE
        while True:
            began = trio.current_time()
            try:
                await watcher()
                why = "returned"
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                log.exception("%s failed", name)
            self.problems[name] = f"{name}: {why}"
            if trio.current_time() > began + CALM:
                pause = FIRST_PAUSE
            await trio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def well(self, name: str) -> None:
        """A watcher's word that it works (again)."""
        self.problems.pop(name, None)

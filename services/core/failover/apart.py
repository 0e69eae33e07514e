"""Runs failover in a thread and an event loop of its own, with real-time priority.

A lease is renewed many times a second, whatever else the process is busy with: a large
configuration being read, a bulk of users.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from services.core.failover.priority import hurry

T = TypeVar("T")

SWITCH = 0.001
"""Seconds after which a busy thread gives Python to another (5 ms by default)."""


class Apart:
    """``main`` runs in the other loop, for ever; `run` returns, or raises, when it does."""

    def __init__(self, main: Callable[[], Awaitable[None]]) -> None:
        self._main = main
        self._token: trio.lowlevel.TrioToken | None = None
        self._home: trio.lowlevel.TrioToken | None = None
        self._scope: trio.CancelScope | None = None

    def at_home(self, callback: Callable[[], None]) -> Callable[[], None]:
        """``callback`` to be called from the other loop, and run in that of `run`'s caller."""

        def call() -> None:
            if self._home is not None:
                self._home.run_sync_soon(callback)

        return call

    async def ask(self, what: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Run ``what`` in the other loop. Raises what it raises; RuntimeError if none runs."""
        token = self._token
        if token is None:
            raise RuntimeError("failover does not run")
        return await trio.to_thread.run_sync(
            lambda: trio.from_thread.run(what, *arguments, trio_token=token),
            abandon_on_cancel=True,
        )

    async def run(self) -> None:
        """Until cancelled; then it waits for ``main``'s own end."""
        sys.setswitchinterval(SWITCH)
        self._home = trio.lowlevel.current_trio_token()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_when_cancelled)
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(lambda: trio.run(self._run))
                nursery.cancel_scope.cancel()
        finally:
            self._token = None

    async def _cancel_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            token, scope = self._token, self._scope
            if token is not None and scope is not None:
                token.run_sync_soon(scope.cancel)

    async def _run(self) -> None:
        hurry()
        with trio.CancelScope() as scope:
            self._scope = scope
            self._token = trio.lowlevel.current_trio_token()
            await self._main()

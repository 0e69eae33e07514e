"""Makes the interfaces match what the election says, again and again."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from services.core.failover.addresses import REFRESH, AddressError, Addresses
from services.core.failover.announce import AFTER, announce
from services.core.failover.clock import now

log = logging.getLogger(__name__)

AGAIN = 0.05
"""Seconds after the kernel refused."""


class Keeper:
    """`until` is the wish, `up` what was done. ``changed`` is called after each of both changes.

    With no addresses it does everything but touch an interface.
    """

    def __init__(self, name: str, addresses: Addresses | None, changed: Callable[[], None]) -> None:
        self._name = name
        self._addresses = addresses
        self._changed = changed
        self._wake = trio.Event()
        self._until = float("-inf")
        self._announced: trio.CancelScope | None = None
        self.up = False
        self.clean = False
        self.problem = ""

    @property
    def until(self) -> float:
        """The addresses are to be here as long as `clock.now` is below this."""
        return self._until

    def keep(self, until: float) -> None:
        """Have them until then."""
        was = self._until
        self._until = until
        if not self.up or was <= now():
            self._wake.set()

    def drop(self) -> None:
        """Have them no more."""
        self._until = float("-inf")
        self._wake.set()

    async def run(self) -> None:
        """For ever."""
        try:
            await self._do(lambda addresses: addresses.drop())
            await self._do(lambda addresses: addresses.prepare())
        except AddressError as error:
            log.warning("%s: %s", self._name, error)
            self.problem = str(error)
        else:
            self.clean = True
            self._changed()
        async with trio.open_nursery() as nursery:
            while True:
                self._wake = trio.Event()
                pause = await self._once(nursery)
                with trio.move_on_after(pause):
                    await self._wake.wait()

    async def _once(self, nursery: trio.Nursery) -> float:
        """Do what the lease says at this moment; seconds until the next look."""
        try:
            if now() < self._until:
                await self._do(lambda addresses: addresses.keep())
                # The lease first, after whatever has held us up.
                if now() < self._until:
                    self.problem = self._addresses.problem if self._addresses else ""
                    if not self.up:
                        self.up, self.clean = True, True
                        self._announce(nursery)
                        self._changed()
                    return max(0.0, min(REFRESH, self._until - now()))
            if self.up or not self.clean:
                await self._do(lambda addresses: addresses.drop())
                self.up, self.clean = False, True
                self.problem = ""
                if self._announced is not None:
                    self._announced.cancel()
                self._changed()
        except AddressError as error:
            if not self.problem:
                log.warning("%s: %s", self._name, error)
            self.problem = str(error)
            return AGAIN
        return max(0.0, self._until - now()) if now() < self._until else 60.0

    async def _do(self, what: Callable[[Addresses], None]) -> None:
        if self._addresses is not None:
            await trio.to_thread.run_sync(what, self._addresses)

    def _announce(self, nursery: trio.Nursery) -> None:
        if self._addresses is None:
            return
        places = self._addresses.places
        self._announced = scope = trio.CancelScope()

        async def repeat() -> None:
            began = trio.current_time()
            with scope:
                for after in AFTER:
                    await trio.sleep_until(began + after)
                    announce(places)

        nursery.start_soon(repeat)

"""A role's place in the cluster: it is registered, tells how it is, and knows its switch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
import trio

from services.core.configuration import ENABLED, Switch, decode, encode, prefix
from services.core.discovery import Registry, RegistryError, Service, Status

log = logging.getLogger(__name__)
T = TypeVar("T")

REPORT_EVERY = 2.0
"""Seconds between reports of an unchanged status: well below the check's TTL."""
LOOK_EVERY = 0.2


class Membership:
    """``service`` is how it registers now, ``report`` the check's status and output, for people."""

    def __init__(
        self,
        registry: Registry,
        cluster: str,
        server: str,
        service: Callable[[], Service],
        report: Callable[[], tuple[Status, str]],
    ) -> None:
        self._registry = registry
        self._key = f"{prefix(cluster)}switches/{server}/{service().name}"
        self._service = service
        self._report = report
        self._reporting = trio.CancelScope()

    async def report(self) -> None:
        """Register, and say how it is: at once when that changes. Until `leave`."""
        with self._reporting:
            await self._report_forever()

    async def _report_forever(self) -> None:
        registered: Service | None = None
        last: tuple[str, float] = ("", 0.0)
        while True:
            now = trio.current_time()
            found, output = self._report()
            current = self._service()
            if registered != current or found != last[0] or now >= last[1] + REPORT_EVERY:
                try:
                    if registered != current:
                        await self._registry.register(current)
                        registered = current
                    await self._registry.report(current.id, found, output)
                    last = (found, now)
                except RegistryError as error:
                    log.warning("%s", error)
                    await trio.sleep(REPORT_EVERY)
            await trio.sleep(LOOK_EVERY)

    async def follow_switch(self, changed: Callable[[Switch], None]) -> None:
        """Tell what the administrator's switch is, for ever."""
        before = ENABLED
        async for values in self._registry.watch(self._key):
            switch = read(values.get(self._key), Switch, ENABLED)
            if switch.state != before.state:
                log.warning("switched to %s: %s", switch.state, switch.reason)
            before = switch
            changed(switch)

    async def drain(self) -> Switch:
        """Write the switch, as an administrator would. Raises RegistryError."""
        switch = Switch(
            state="draining", reason="asked of the server itself", by="admin API", since=time.time()
        )
        await self._registry.put(self._key, encode(switch))
        return switch

    async def leave(self) -> None:
        """Be gone from the registry."""
        # First: a report of a service that has gone would register it again.
        self._reporting.cancel()
        try:
            await self._registry.deregister(self._service().id)
        except RegistryError as error:
            log.warning("left without telling the registry: %s", error)


async def follow_switches(
    registry: Registry, cluster: str, role: str, changed: Callable[[dict[str, Switch]], None]
) -> None:
    """Tell what the administrator's switches of a role's servers are, by server, for ever."""
    root = f"{prefix(cluster)}switches/"
    async for values in registry.watch(root):
        found: dict[str, Switch] = {}
        for key, raw in values.items():
            server, _, of = key.removeprefix(root).partition("/")
            if of == role:
                found[server] = read(raw, Switch, ENABLED)
        changed(found)


def read(data: bytes | None, kind: type[T], default: T) -> T:
    """A document of the registry's; ``default`` where there is none, or none that can be read."""
    if data is None:
        return default
    try:
        return decode(data, kind)
    except msgspec.DecodeError as error:
        log.warning("the registry's %s cannot be read: %s", kind.__name__, error)
        return default

"""A service that changes, on registries whose answers are lost now and then."""

from __future__ import annotations

import msgspec
import pytest
import trio

from services.core.discovery import (
    Check,
    Registration,
    Registry,
    RegistryUnreachableError,
    Service,
)

SERVICE = Service(
    id="acme-call-manager-cm1",
    name="call-manager",
    port=7080,
    tags=("acme", "standby"),
    checks=(Check(ttl=30),),
)
ACTIVE = msgspec.structs.replace(SERVICE, tags=("acme", "active"))


class Unheard(Registry):
    """Carries requests out; while ``deaf``, their answers are lost."""

    deaf = False

    async def register(self, service: Service) -> None:
        await super().register(service)
        if self.deaf:
            raise RegistryUnreachableError("no answer in time")


async def tagged(registry: Registry, tag: str) -> None:
    """Wait until the service has a tag: Consul's catalog learns of it from its agent."""
    with trio.fail_after(15):
        async for instances in registry.watch_health("call-manager"):
            if any(tag in each.tags for each in instances):
                return


async def test_what_was_carried_out_without_an_answer_is_put_right(url: str) -> None:
    registration = Registration()
    async with Unheard(url) as registry:
        await registration.keep(registry, ACTIVE)
        await tagged(registry, "active")
        registry.deaf = True
        with pytest.raises(RegistryUnreachableError):
            await registration.keep(registry, SERVICE)
        await tagged(registry, "standby")
        registry.deaf = False
        # It is again what the registry was told before.
        await registration.keep(registry, ACTIVE)
        await tagged(registry, "active")


async def test_the_same_is_not_registered_again(url: str) -> None:
    registration = Registration()
    async with Unheard(url) as registry:
        await registration.keep(registry, SERVICE)
        registry.deaf = True
        await registration.keep(registry, SERVICE)

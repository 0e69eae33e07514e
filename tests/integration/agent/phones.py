"""Phones at a Call Manager of these tests, and what they need to make a call."""

from __future__ import annotations

from collections.abc import Callable

import trio

from tests.integration.agent.lab import Lab, plain, user
from tests.integration.calls.party import Party

Make = Callable[..., Party]


async def ready(manager: Lab, *, media: tuple[str, ...] = ("media1",)) -> None:
    """Users, configuration and media servers in force."""
    # First, for they take the longest.
    for host, name in enumerate(media, 21):
        manager.start_media(name, host)
    await manager.put_users(*(user(str(number)) for number in range(2001, 2006)), replace="spec")
    await manager.apply(plain())
    await manager.media_is(**dict.fromkeys(media, "up"))


async def registered(*parties: Party) -> None:
    for one in parties:
        await trio.to_thread.run_sync(one.register)

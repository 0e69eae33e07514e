"""Keeps the registry's leadership off the host that holds a name: one dead host is never both."""

from __future__ import annotations

import logging

import trio

from services.core.discovery import Registry, RegistryError
from services.core.failover.floating import Floating

log = logging.getLogger(__name__)

EVERY = 2.0
"""Seconds between two looks."""


async def follow_raft(registry: Registry, floating: Floating) -> None:
    """While ``floating`` is held here, give Raft's leadership to another server, for ever.

    With the two on one host its death would cost an election (2.8 to 3.6 s) before the name could
    be taken over.
    """
    told = ""
    while True:
        await trio.sleep(EVERY)
        if not floating.held:
            continue
        try:
            servers = await registry.raft()
            leading = [server for server in servers if server.leader]
            if not leading or host(leading[0].address) != floating.address:
                told = ""
                continue
            others = [server for server in servers if server.voter and not server.leader]
            if others:
                # Another one at each attempt: one that is dead cannot take it.
                chosen = others[int(trio.current_time() / EVERY) % len(others)]
                await registry.transfer_leadership(chosen.id)
                log.info("Consul's leadership goes to %s", chosen.node)
            told = ""
        except RegistryError as error:
            if str(error) != told:
                told = str(error)
                log.warning("Consul's leadership stays where it is: %s", error)


def host(address: str) -> str:
    """The host of ``host:port``."""
    return address.rpartition(":")[0].strip("[]")

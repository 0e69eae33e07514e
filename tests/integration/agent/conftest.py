from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.agent.lab import DOMAIN, Lab, lab
from tests.integration.agent.phones import Make
from tests.integration.calls.party import Party
from tests.support.hosts import loopback_network
from tests.support.sip_client import Connection, Stream, Udp, WebSocket


@pytest.fixture
async def agent() -> AsyncIterator[Lab]:
    """An agent with registry and store, and no Kamailio beside it."""
    with loopback_network() as network:
        async with lab(network, kamailio=False) as found:
            yield found


@pytest.fixture
async def manager() -> AsyncIterator[Lab]:
    """A whole Call Manager."""
    with loopback_network() as network:
        async with lab(network) as found:
            yield found
            # Shown where the test has failed.
            for path in sorted(found.root.glob("*.log")):
                sys.stdout.write(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}\n")


@pytest.fixture
def party(manager: Lab) -> Iterator[Make]:
    """Makes phones: ``party("2001", 101)`` at ``.101``."""
    opened: list[Connection] = []

    def make(extension: str, host: int, over: str = "udp") -> Party:
        address = f"{manager.network}.{host}"
        connection: Connection
        if over == "udp":
            connection = Udp(manager.settings.vip, address)
        elif over == "wss":
            connection = WebSocket(manager.settings.vip, address)
        else:
            connection = Stream(manager.settings.vip, address, tls=over == "tls")
        opened.append(connection)
        return Party(connection, extension, DOMAIN)

    yield make
    for connection in opened:
        connection.close()

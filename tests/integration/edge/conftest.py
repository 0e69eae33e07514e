from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from services.core.configuration import Security
from tests.support.hosts import loopback_network
from tests.support.kamailio import CallManager, call_manager
from tests.support.sip_client import Phone, Stream, Udp, WebSocket

Dial = Callable[..., Phone]


@pytest.fixture(scope="session")
def _running() -> Iterator[CallManager]:
    with loopback_network() as network, call_manager(network) as manager:
        yield manager


@pytest.fixture
def manager(_running: CallManager) -> Iterator[CallManager]:
    """A Call Manager that all tests share: with its own settings, no bans, no bindings."""
    _running.configure(Security())
    for table in ("ipban", "authfail", "rate", "nonces", "calls", "overload"):
        _running.rpc("htable.flush", table)
    for extension in range(1001, 1011):
        _running.rpc("ul.rm", "location", f"{extension}@sales")
    yield _running
    assert _running.failures() == []


@pytest.fixture
def phone(manager: CallManager) -> Iterator[Dial]:
    """Makes phones: ``phone("1001", host=2, over="udp")``; their sockets close with the test."""
    opened: list[Udp | Stream | WebSocket] = []

    def make(extension: str = "1001", host: int = 2, over: str = "udp", **more: str) -> Phone:
        address = f"{manager.network}.{host}"
        if over == "udp":
            connection = Udp(manager.address, address, int(more.pop("port", 5060)))
        elif over == "wss":
            connection = WebSocket(manager.address, address)
        else:
            connection = Stream(manager.address, address, tls=over == "tls")
        opened.append(connection)
        return Phone(connection, extension, **more)

    yield make
    for connection in opened:
        connection.close()

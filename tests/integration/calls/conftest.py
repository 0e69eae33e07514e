from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.integration.calls.lab import SALES, Lab
from tests.integration.calls.lab import lab as run_lab
from tests.integration.calls.party import Party
from tests.support.sip_client import Connection, Stream, Udp, WebSocket

# What one test leaves behind, a repeated request say, does not reach the next.
_hosts = itertools.cycle(range(110, 250))


@pytest.fixture(scope="session")
def _lab() -> Iterator[Lab]:
    with run_lab() as running:
        yield running


@pytest.fixture
def lab(_lab: Lab) -> Iterator[Lab]:
    """The lab that all tests share, as after a start; a Python error in routing fails the test."""
    _lab.clear()
    before = len(_lab.manager.log())
    yield _lab
    log = _lab.manager.log()[before:]
    # Shown where the test has failed.
    sys.stdout.write(log[-5000:])
    assert "routing failed" not in log, log[-5000:]


@pytest.fixture
def party(lab: Lab) -> Iterator[Callable[..., Party]]:
    """Makes parties: ``party("2001")`` at an address of its own, registered."""
    opened: list[Connection] = []

    def make(
        extension: str,
        *,
        domain: str = SALES,
        host: int = 0,
        over: str = "udp",
        register: bool = True,
    ) -> Party:
        address = f"{lab.network}.{host or next(_hosts)}"
        connection: Connection
        if over == "udp":
            connection = Udp(lab.address, address, 5060)
        elif over == "wss":
            connection = WebSocket(lab.address, address)
        else:
            connection = Stream(lab.address, address, tls=over == "tls")
        opened.append(connection)
        made = Party(connection, extension, domain)
        if register:
            made.register()
        return made

    yield make
    for connection in opened:
        connection.close()


@pytest.fixture
def carrier(party: Callable[..., Party]) -> Callable[[str], Party]:
    """Makes carriers: ``carrier("a")``."""
    return lambda letter: party(
        "sbc", domain="carrier.example", host={"a": 101, "b": 102}[letter], register=False
    )

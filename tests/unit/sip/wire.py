"""User agents without sockets: what one sends reaches the other late, twice or never."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import trio

from services.core.sip import UserAgent
from services.core.sip.exchange import Flow
from tests.unit.sip.network import Fate


class Wire:
    """Carries datagrams; ``fates`` as those of `Network`, endless good luck after them."""

    def __init__(self, nursery: trio.Nursery, fates: Iterator[Fate]) -> None:
        self._nursery = nursery
        self._fates = fates
        self.agents: dict[str, UserAgent] = {}
        self.sent: list[bytes] = []

    def send(self, data: bytes, source: Flow, target: Flow) -> None:
        self.sent.append(data)
        for delay in next(self._fates, (0.01,)):
            self._nursery.start_soon(self._carry, data, source, target, delay)

    async def _carry(self, data: bytes, source: Flow, target: Flow, delay: float) -> None:
        await trio.sleep(delay)
        agent = self.agents.get(target.host)
        if agent is not None:
            agent.endpoint.receive(data, source)


class _Transports:
    """In the place of `services.core.sip.transport.Transports`."""

    def __init__(self, wire: Wire, address: str) -> None:
        self._wire = wire
        self._source = Flow("udp", address, 5060)

    async def open(self, address: str, port: int) -> int:
        del address
        await trio.lowlevel.checkpoint()
        return port

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep_forever()

    def send(self, data: bytes, target: Flow) -> None:
        self._wire.send(data, self._source, target)

    def close(self) -> None:
        pass


@asynccontextmanager
async def agent(wire: Wire, address: str, name: str) -> AsyncGenerator[UserAgent]:
    """A user agent on the wire."""
    made = UserAgent(address, 5060, name=name)
    transports = _Transports(wire, address)
    made._transports = transports  # type: ignore[assignment]
    made.endpoint.emit = transports.send
    wire.agents[address] = made
    async with made:
        yield made

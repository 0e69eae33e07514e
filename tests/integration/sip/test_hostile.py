"""What somebody sends may cost them an answer, and never the process: over UDP and TCP."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from services.core.sip import Invitation, UserAgent, sdp, transport
from services.core.sip.message import compose
from tests.integration.edge.torture_messages import MESSAGES
from tests.support.faults import no_fault
from tests.support.hosts import loopback_network

__all__ = ["no_fault"]

PING = "OPTIONS sip:pbx@x SIP/2.0"


def request(
    start: str, branch: str, body: bytes = b"", transport_name: str = "UDP", host: str = "h"
) -> bytes:
    method = start.split(" ")[0]
    return compose(
        start,
        [
            ("Via", f"SIP/2.0/{transport_name} {host}:5060;branch=z9hG4bK{branch};rport"),
            ("Max-Forwards", "70"),
            ("From", f"<sip:a@x>;tag={branch}"),
            ("To", "<sip:pbx@x>"),
            ("Call-ID", f"{branch}@x"),
            ("CSeq", f"1 {method}"),
            ("Contact", "<sip:a@192.0.2.1>"),
            *([("Content-Type", "application/sdp")] if body else []),
        ],
        body,
    )


class Victim:
    """A user agent that answers every call, and who talks to it."""

    def __init__(self, agent: UserAgent, udp: trio.socket.SocketType) -> None:
        self.agent = agent
        self.udp = udp
        self.calls = 0
        self._pings = 0

    async def serve(self, invitation: Invitation) -> None:
        self.calls += 1
        if invitation.offer is None:
            text = sdp.offer("192.0.2.2", 5000)
        else:
            text = sdp.answer(invitation.offer, "192.0.2.2", 5000)[0]
        async with invitation.accept(text):
            await trio.sleep_forever()

    async def send(self, data: bytes) -> None:
        await self.udp.sendto(data, (self.agent.address, self.agent.port))

    async def lives(self) -> None:
        """It answers an OPTIONS."""
        self._pings += 1
        branch = f"ping{self._pings}"
        with trio.fail_after(60):
            while True:
                await self.send(request(PING, branch))
                with trio.move_on_after(0.5):  # this socket's own queue may be full of answers
                    while True:
                        data = await self.udp.recv(65535)
                        if branch.encode() in data:
                            assert data.startswith(b"SIP/2.0 200 ")
                            return

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[trio.SocketStream]:
        stream = await trio.open_tcp_stream(self.agent.address, self.agent.port)
        async with stream:
            yield stream


@asynccontextmanager
async def victim() -> AsyncGenerator[Victim]:
    with loopback_network() as network, trio.socket.socket(type=trio.socket.SOCK_DGRAM) as udp:
        await udp.bind((f"{network}.2", 0))
        async with UserAgent(f"{network}.1", 5060) as agent, trio.open_nursery() as nursery:
            made = Victim(agent, udp)
            nursery.start_soon(agent.serve, made.serve)
            await made.lives()
            yield made
            await made.lives()
            nursery.cancel_scope.cancel()


async def closed(stream: trio.SocketStream) -> None:
    """Wait until the other side closes."""
    with trio.fail_after(60):
        try:
            while await stream.receive_some(65535):
                pass
        except trio.BrokenResourceError:
            pass


async def test_torture() -> None:
    async with victim() as it:
        for message in MESSAGES.values():
            await it.send(message)
        await it.lives()
        async with it.connection() as stream:
            for message in MESSAGES.values():
                try:
                    await stream.send_all(message)
                except trio.BrokenResourceError:
                    break


async def test_garbage_and_great_datagrams() -> None:
    chance = random.Random(1)  # noqa: S311
    sample = request("INVITE sip:pbx@x SIP/2.0", "g")
    async with victim() as it:
        for n in range(400):
            data = bytearray(sample) if n % 2 else bytearray(chance.randbytes(200))
            for _ in range(chance.randrange(1, 20)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            await it.send(bytes(data))
        for filler in (
            b"a",
            b"\r\n",
            b"\0",
            b";",
            b"<",
            b'"',
            b"X: y\r\n",
            b"Via: a,\r\n",
            b" \r\n",
        ):
            whole = b"INVITE sip:pbx@x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n"
            size = 65000 - len(whole)
            await it.send(whole + filler * (size // len(filler)) + b"\r\n\r\n")
            await it.send((filler * 65000)[:65000])
            await it.lives()
        await it.send(b"")


async def test_invites_without_ack() -> None:
    """Their calls end, and their memory is given back (here: the transactions' time is cut)."""
    async with victim() as it:
        for n in range(500):
            offer = sdp.offer("192.0.2.1", 4000).encode()
            await it.send(request("INVITE sip:pbx@x SIP/2.0", f"i{n}", offer))
            if n % 50 == 0:
                await it.lives()
        with trio.fail_after(60):
            while it.calls < 500:  # noqa: ASYNC110 - the socket's queue empties
                await trio.sleep(0.01)
        assert len(it.agent.calls) == 500


async def test_half_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HALF", 0.3)
    async with victim() as it, it.connection() as stream:
        await stream.send_all(request(PING, "half", transport_name="TCP")[:60])
        await closed(stream)


async def test_slow_but_whole() -> None:
    """A message in pieces, then two and a half in one, and a keep-alive (RFC 5626)."""
    async with victim() as it, it.connection() as stream:
        for byte in request(PING, "slow", transport_name="TCP"):
            await stream.send_all(bytes((byte,)))
        assert (await stream.receive_some(65535)).startswith(b"SIP/2.0 200 ")
        three = b"".join(request(PING, f"s{n}", transport_name="TCP") for n in range(3))
        await stream.send_all(three[:-10])
        received = b""
        with trio.fail_after(60):
            while received.count(b"SIP/2.0 200 ") < 2:
                received += await stream.receive_some(65535)
            await stream.send_all(three[-10:] + b"\r\n\r\n")
            while received.count(b"SIP/2.0 200 ") < 3 or not received.endswith(b"\r\n\r\n\r\n"):
                received += await stream.receive_some(65535)


@pytest.mark.parametrize(
    "head",
    [
        b"INVITE sip:pbx@x SIP/2.0\r\n" + b"X: y\r\n" * 10_000,
        b"INVITE sip:pbx@x SIP/2.0\r\nContent-Length: 999999999\r\n\r\n",
        b"INVITE sip:pbx@x SIP/2.0\r\nContent-Length: 1\r\nl: 2\r\n\r\n",
        b"INVITE sip:pbx@x SIP/2.0\r\nContent-Length: -1\r\n\r\n",
        b"\r\r\r\r",
        os.urandom(40_000).replace(b"\r\n\r\n", b"\n"),
    ],
)
async def test_a_stream_that_cannot_be_followed_is_closed(head: bytes) -> None:
    async with victim() as it, it.connection() as stream:
        try:
            await stream.send_all(head)
        except trio.BrokenResourceError:
            return
        await closed(stream)


async def test_connections_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_CONNECTIONS", 5)
    async with victim() as it:
        streams = [await trio.open_tcp_stream(it.agent.address, it.agent.port) for _ in range(5)]
        for n, stream in enumerate(streams):
            await stream.send_all(request(PING, f"c{n}", transport_name="TCP"))
            assert (await stream.receive_some(65535)).startswith(b"SIP/2.0 200 ")
        async with it.connection() as sixth:
            await closed(sixth)
        for stream in streams:
            await stream.aclose()


async def test_a_connection_that_takes_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks and does not read loses the connection, and holds nobody else up."""
    monkeypatch.setattr(transport, "HALF", 0.3)
    monkeypatch.setattr(transport, "MAX_QUEUE", 50)
    async with victim() as it, it.connection() as stream:
        lost = False
        for n in range(200_000):
            try:
                with trio.move_on_after(2):
                    await stream.send_all(request(PING, f"n{n}", transport_name="TCP"))
                    continue
            except trio.BrokenResourceError:
                lost = True
            break
        assert lost

"""What answers an INVITE of the agent's, and what does not."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from services.call_manager.uac import Exchange, Invite, Response, open_exchange, parse

ANSWER = (
    "SIP/2.0 200 OK\r\nv: SIP/2.0/UDP 10.0.0.1:4711;rport=4711;branch=z9hG4bKours\r\n"
    "CSeq: 7 INVITE\r\nm: <sip:2001@192.0.2.7;pbx-to=x>;expires=5\r\n\r\nv=0\r\n"
)


def test_an_answer_is_read() -> None:
    found = parse(ANSWER.encode(), "z9hG4bKours")
    assert found == Response(200, "sip:2001@192.0.2.7;pbx-to=x", "v=0\r\n")
    plain = ANSWER.replace("m: <sip:2001@192.0.2.7;pbx-to=x>", "Contact: sip:2001@192.0.2.7")
    assert parse(plain.encode(), "z9hG4bKours") == Response(200, "sip:2001@192.0.2.7", "v=0\r\n")
    bare = ANSWER.replace("m: <sip:2001@192.0.2.7;pbx-to=x>;expires=5\r\n", "")
    assert parse(bare.encode(), "z9hG4bKours") == Response(200, "", "v=0\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\x00",
        ANSWER.replace("ours", "theirs").encode(),
        ANSWER.replace("7 INVITE", "7 CANCEL").encode(),
        ANSWER.replace("SIP/2.0 200", "SIP/2.0 20").encode(),
        b"INVITE sip:x SIP/2.0\r\n\r\n",
    ],
)
def test_anything_else_is_not(data: bytes) -> None:
    assert parse(data, "z9hG4bKours") is None


INVITE = Invite(
    uri="sip:2001@192.0.2.7", headers="Call-ID: c\r\n", number=7, more="Contact: <sip:x>\r\n"
)


class Kamailio:
    """The other end: reads requests, answers as it is told."""

    def __init__(self, own: trio.socket.SocketType) -> None:
        self._socket = own
        self._peer: Any = None

    async def hears(self, method: str) -> str:
        with trio.fail_after(5):
            data, self._peer = await self._socket.recvfrom(65535)
        text = data.decode()
        assert text.startswith(f"{method} "), text
        return text

    async def says(self, code: int, request: str, body: str = "") -> None:
        via = next(line for line in request.split("\r\n") if line.startswith("Via: "))
        text = f"SIP/2.0 {code} X\r\n{via}\r\nCSeq: 7 INVITE\r\nContact: <sip:here>\r\n\r\n{body}"
        await self._socket.sendto(text.encode(), self._peer)


@asynccontextmanager
async def exchange(answers: Callable[[Kamailio], Awaitable[None]]) -> AsyncIterator[Exchange]:
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        await own.bind(("127.0.0.1", 0))
        async with (
            open_exchange("127.0.0.1", own.getsockname(), INVITE) as made,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(answers, Kamailio(own))
            yield made


async def test_an_answer_is_acknowledged_as_often_as_it_comes() -> None:
    acknowledged: list[str] = []

    async def answers(kamailio: Kamailio) -> None:
        first = await kamailio.hears("INVITE")
        # Lost: it comes again, as it was.
        assert await kamailio.hears("INVITE") == first
        await kamailio.says(100, first)
        for _ in range(2):
            await kamailio.says(200, first, "v=0\r\n")
            acknowledged.append(await kamailio.hears("ACK"))

    async with exchange(answers) as made:
        response = await made.final(5)
        assert response == Response(200, "sip:here", "v=0\r\n")
        await made.acknowledge(response, "answer")
        await made.linger(1)
    one, other = acknowledged
    assert one == other
    assert one.startswith("ACK sip:here SIP/2.0\r\n")
    assert "CSeq: 7 ACK\r\n" in one
    assert one.endswith("Content-Length: 6\r\n\r\nanswer")


async def test_a_refusal_is_acknowledged_in_its_transaction() -> None:
    async def answers(kamailio: Kamailio) -> None:
        invite = await kamailio.hears("INVITE")
        await kamailio.says(491, invite)
        ack = await kamailio.hears("ACK")
        assert ack.split("\r\n")[0] == "ACK sip:2001@192.0.2.7 SIP/2.0"
        assert ack.split("\r\n")[1] == invite.split("\r\n")[1]

    async with exchange(answers) as made:
        assert (await made.final(5)).code == 491


async def test_who_does_not_answer_is_cancelled() -> None:
    async def answers(kamailio: Kamailio) -> None:
        invite = await kamailio.hears("INVITE")
        await kamailio.says(100, invite)
        cancel = await kamailio.hears("CANCEL")
        assert cancel.split("\r\n")[1] == invite.split("\r\n")[1]
        await kamailio.says(487, invite)
        await kamailio.hears("ACK")

    async with exchange(answers) as made:
        assert (await made.final(0.2)).code == 487

"""An INVITE of this PBX's own inside a dialog, by way of its Kamailio, and its ACK.

RFC 3261 sections 13.2 and 17.1.1 over UDP. What is said is pure (`Invite`, `Response`); `Exchange`
is the transaction.
"""

from __future__ import annotations

import math
import re
import secrets
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import trio

from services.call_manager.in_dialog import address_in
from services.call_manager.routing.uri import host

T1 = 0.5
LONGEST = 4.0
"""Seconds between retransmissions, at first and at most (RFC 3261 section 17.1.1.1)."""
CANCELLED = 5.0
"""Seconds for a final answer after a CANCEL."""
LARGEST = 65535
TIMED_OUT = 408

_STATUS = re.compile(r"SIP/2\.0 ([1-6][0-9]{2}) ")
_CONTACT = re.compile(r"^(?:contact|m)[ \t]*:[ \t]*(.*)$", re.IGNORECASE | re.MULTILINE)
_BRANCH = re.compile(r"^(?:via|v)[ \t]*:[^\r\n]*?;branch=([^;,\s]+)", re.IGNORECASE | re.MULTILINE)
_CSEQ = re.compile(r"^cseq[ \t]*:[ \t]*([0-9]+)[ \t]+(\S+)", re.IGNORECASE | re.MULTILINE)


class Invite(msgspec.Struct, frozen=True, kw_only=True):
    """``headers`` are whole lines that INVITE, ACK and CANCEL have alike, ``more`` the INVITE's."""

    uri: str
    headers: str
    number: int
    more: str = ""
    body: str = ""


class Response(msgspec.Struct, frozen=True):
    """``contact`` is its URI, "" where there is none."""

    code: int
    contact: str
    body: str


def parse(data: bytes | bytearray, branch: str) -> Response | None:
    """A response to an INVITE that was sent with ``branch``; None for anything else."""
    head, _, body = bytes(data).decode("utf-8", "replace").partition("\r\n\r\n")
    status, via, cseq = _STATUS.match(head), _BRANCH.search(head), _CSEQ.search(head)
    if status is None or via is None or cseq is None:
        return None
    if via[1] != branch or cseq[2] != "INVITE":
        return None
    contact = _CONTACT.search(head)
    return Response(int(status[1]), address_in(contact[1].strip()) if contact else "", body)


class Exchange:
    """One INVITE and what follows from it. Made by `open_exchange`."""

    def __init__(self, own: trio.socket.SocketType, source: str, invite: Invite) -> None:
        self._socket = own
        self._source = source
        self._invite = invite
        self._branch = _branch()
        self._ack = b""

    async def final(self, within: float) -> Response:
        """The final answer, for which there are ``within`` seconds; then the INVITE is cancelled.

        408 where there is none. Raises OSError.
        """
        invite = self._invite
        message = self._message(
            "INVITE", invite.uri, self._branch, invite.headers + invite.more, invite.body
        )
        with trio.move_on_after(within):
            return await self._answered(message)
        cancel = self._message("CANCEL", invite.uri, self._branch, invite.headers, "")
        with trio.move_on_after(CANCELLED):
            return await self._answered(cancel)
        return Response(TIMED_OUT, "", "")

    async def _answered(self, message: bytes) -> Response:
        wait = T1
        while True:
            await self._socket.send(message)
            with trio.move_on_after(wait) as patience:
                while True:
                    response = await self._receive()
                    if response is None:
                        continue
                    if response.code >= 200:
                        return await self._settle(response)
                    # Our Kamailio has it, and says it again where need be.
                    patience.deadline = math.inf
            wait = min(wait * 2, LONGEST)

    async def _settle(self, response: Response) -> Response:
        if response.code >= 300:
            # Of the same transaction (RFC 3261 section 17.1.1.3).
            await self._socket.send(
                self._message("ACK", self._invite.uri, self._branch, self._invite.headers, "")
            )
        return response

    async def acknowledge(self, response: Response, body: str = "") -> None:
        """ACK of a 2xx (section 13.2.2.4), with the answer to its offer. Raises OSError."""
        uri = response.contact or self._invite.uri
        self._ack = self._message("ACK", uri, _branch(), self._invite.headers, body)
        await self._socket.send(self._ack)

    async def linger(self, seconds: float) -> None:
        """Say the ACK again when the 2xx comes again, for so long."""
        with trio.move_on_after(seconds):
            while True:
                response = await self._receive()
                if response is not None and 200 <= response.code < 300:
                    await self._socket.send(self._ack)

    async def _receive(self) -> Response | None:
        return parse(await self._socket.recv(LARGEST), self._branch)

    def _message(self, method: str, uri: str, branch: str, headers: str, body: str) -> bytes:
        port = self._socket.getsockname()[1]
        kind = "Content-Type: application/sdp\r\n" if body else ""
        return (
            f"{method} {uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {host(self._source)}:{port};branch={branch};rport\r\n"
            f"{headers}CSeq: {self._invite.number} {method}\r\nMax-Forwards: 70\r\n"
            f"{kind}Content-Length: {len(body.encode())}\r\n\r\n{body}"
        ).encode()


def _branch() -> str:
    return f"z9hG4bK{secrets.token_hex(8)}"


@asynccontextmanager
async def open_exchange(
    source: str, kamailio: tuple[str, int], invite: Invite
) -> AsyncGenerator[Exchange]:
    """An INVITE that is about to be sent to Kamailio from this address. Raises OSError."""
    family = socket.AF_INET6 if ":" in kamailio[0] else socket.AF_INET
    with trio.socket.socket(family, socket.SOCK_DGRAM) as own:
        await own.bind((source, 0))
        # Connected, so that a port that nobody listens on is told at once.
        await own.connect(kamailio)
        yield Exchange(own, source, invite)

"""A phone that sends what is worst for who takes its call."""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from services.core.sip.message import compose
from services.ivr.server import Server
from tests.integration.ivr.two_servers import KEY, Cluster
from tests.support.ivr_phone import invited

WAITS = (
    "m=audio 40000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)
HEAD = "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\n"
OFFERS = {
    "good": HEAD + WAITS,
    "none": "",
    "no lines": "\r\n" * 2000,
    "no media": HEAD,
    "video alone": HEAD + "m=video 40000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n",
    "port 0": HEAD + WAITS.replace("40000", "0"),
    "port 99999": HEAD + WAITS.replace("40000", "99999"),
    "negative port": HEAD + WAITS.replace("40000", "-1"),
    "no address": HEAD.replace("c=IN IP4 {0}\r\n", "") + WAITS,
    "a name": HEAD.replace("{0}", "localhost") + WAITS,
    "everybody": HEAD.replace("{0}", "255.255.255.255") + WAITS,
    "many": HEAD.replace("{0}", "224.0.0.1") + WAITS,
    "nobody": HEAD.replace("{0}", "0.0.0.0") + WAITS,
    "IPv6": HEAD.replace("IP4 {0}", "IP6 ::1") + WAITS,
    "other codecs": HEAD + WAITS.replace("8 101", "18 3"),
    "wild codecs": HEAD + WAITS.replace("8 101", "8 999 -1 x 101"),
    "500 streams": HEAD + WAITS * 500,
    "no UTF-8": HEAD + WAITS + "a=x:\udcff\udcfe\r\n",
}


class RawPhone:
    """Sends what it is told to. ``heard_at`` is where the other side takes its sound."""

    def __init__(self, server: Server, udp: trio.socket.SocketType) -> None:
        self._server = server
        self._udp = udp
        self._address, self._port = udp.getsockname()
        self._to = ""
        self.speaks_from = (self._address, self._port + 1)
        self.heard_at = ("", 0)
        self.call_id = f"{secrets.token_hex(6)}@raw"
        self.cseq = 0

    def fields(self, method: str, name: str = "") -> list[tuple[str, str]]:
        if method != "ACK":
            self.cseq += 1
        here = f"{self._address}:{self._port}"
        return [
            ("Via", f"SIP/2.0/UDP {here};branch=z9hG4bK{secrets.token_hex(6)};rport"),
            ("Max-Forwards", "70"),
            ("From", f"{name}<sip:a@{self._address}>;tag=raw"),
            ("To", self._to or "<sip:keys@x>"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.cseq} {method}"),
            ("Contact", f"<sip:a@{here}>"),
        ]

    async def send(self, method: str, fields: list[tuple[str, str]], body: bytes = b"") -> None:
        agent = self._server.agent
        data = compose(f"{method} sip:keys@{agent.address}:{agent.port} SIP/2.0", fields, body)
        await self._udp.sendto(data, (agent.address, agent.port))

    async def answered(self) -> int:
        """The status of a final response to the last request."""
        with trio.fail_after(10):
            while True:
                data = await self._udp.recv(65535)
                head = data.decode("utf-8", "surrogateescape").split("\r\n")
                status = head[0].split(" ")[1]
                mine = f"CSeq: {self.cseq} " in "\n".join(head)
                if mine and head[0].startswith("SIP/2.0 ") and status >= "200":
                    self._to = next(line[4:] for line in head if line.startswith("To: "))
                    for line in head:
                        if line.startswith("m=audio "):
                            self.heard_at = (self._server.agent.address, int(line.split(" ")[1]))
                    return int(status)

    async def invite(self, offer: str, name: str = "", *more: tuple[str, str]) -> int:
        """The final response to an INVITE with a good passport; it is acknowledged."""
        fields = [*self.fields("INVITE", name), invited(KEY, self.call_id, "keys"), *more]
        # Two calls whose sound is at one address and port would be one stream.
        offer = offer.replace("{0}", self._address).replace("40000", str(self.speaks_from[1]))
        body = offer.encode("utf-8", "surrogateescape")
        if body:
            fields.append(("Content-Type", "application/sdp"))
        await self.send("INVITE", fields, body)
        status = await self.answered()
        await self.send("ACK", self.fields("ACK"))
        return status

    async def bye(self) -> None:
        await self.send("BYE", self.fields("BYE"))
        assert await self.answered() in (200, 481)


@asynccontextmanager
async def raw_phone(cluster: Cluster, server: Server) -> AsyncGenerator[RawPhone]:
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        await udp.bind((f"{cluster.network}.22", 0))
        yield RawPhone(server, udp)


def flood(here: tuple[str, int], there: tuple[str, int]) -> None:
    """100,000 packets of keys, a quarter of them no good."""
    head, rows = b"", list[bytes]()
    for n in range(20_000):
        head = bytes([0x80, 0x80 | 101]) + n.to_bytes(2, "big") + (n * 80).to_bytes(4, "big")
        rows.append(head + bytes(4) + bytes([n % 256, 0x8A, n % 7, 160]))
    wild = [b"", b"\x80", bytes(11), b"\xff" * 1500, head, head + b"\0" * 7]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(here)
        for _ in range(5):
            for n, row in enumerate(rows):
                udp.sendto(row if n % 4 else wild[n % len(wild)], there)

"""Two phones and the ng commands between them: what the Call Manager does, by hand."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pylibsrtp
import trio

from services.core.ng import Ng, text
from services.media import rtp, sdp
from tests.integration.media.sound import CLOCKS, NAMES, Samples, decode, frames, tone
from tests.integration.media.sound import RATES as RATES

SDES = "AES_CM_128_HMAC_SHA1_80"
STATIC = {"PCMU": 0, "PCMA": 8, "G722": 9}


class Phone:
    """An RTP socket on ``address`` with one codec; SRTP with keys by SDES if ``secure``."""

    def __init__(
        self,
        socket: trio.socket.SocketType,
        codec: str,
        *,
        payload_type: int | None = None,
        secure: bool = False,
    ) -> None:
        self.socket = socket
        self.codec = codec
        self.payload_type = STATIC.get(codec, 111) if payload_type is None else payload_type
        self.address, self.port = socket.getsockname()[:2]
        self.ssrc = secrets.randbits(32)
        self.sequence = secrets.randbits(15)
        self.timestamp = secrets.randbits(31)
        self.target: tuple[str, int] = ("", 0)
        self.received: list[rtp.Packet] = []
        self.raw: list[bytes] = []
        self.key = secrets.token_bytes(30) if secure else b""
        self.crypto_tag = "1"
        self.encrypt: pylibsrtp.Session | None = None
        self.decrypt: pylibsrtp.Session | None = None

    def offer(self, *, codecs: dict[int, str] | None = None) -> str:
        """A session description of this phone alone."""
        said = sdp.describe(
            address=self.address,
            port=self.port,
            codecs=codecs or {self.payload_type: NAMES[self.codec], 101: "telephone-event/8000"},
        )
        if not self.key:
            return said
        key = base64.b64encode(self.key).decode()
        line = f"a=crypto:{self.crypto_tag} {SDES} inline:{key}\r\n"
        return said.replace("RTP/AVP", "RTP/SAVP") + line

    def take(self, description: str) -> None:
        """The other side's session description: where to send, and with which key to listen."""
        media = sdp.audio(description)
        assert media is not None
        self.target = (media.address, media.port)
        if not self.key:
            return
        found = re.search(rf"a=crypto:(\d+) {SDES} inline:([A-Za-z0-9+/=]+)", description)
        assert found, description
        self.crypto_tag = found[1]
        their_key = base64.b64decode(found[2] + "==")
        policy = pylibsrtp.Policy
        self.encrypt = pylibsrtp.Session(
            pylibsrtp.Policy(key=self.key, ssrc_type=policy.SSRC_ANY_OUTBOUND)
        )
        self.decrypt = pylibsrtp.Session(
            pylibsrtp.Policy(key=their_key, ssrc_type=policy.SSRC_ANY_INBOUND)
        )

    async def send(
        self,
        payload: bytes,
        *,
        payload_type: int | None = None,
        marker: bool = False,
        advance: bool = True,
    ) -> None:
        """One packet of 20 ms."""
        kind = self.payload_type if payload_type is None else payload_type
        data = rtp.build(
            rtp.Packet(kind, self.sequence, self.timestamp, self.ssrc, payload, marker)
        )
        self.sequence += 1
        if advance:
            self.timestamp += CLOCKS[self.codec] // 50
        if self.encrypt:
            data = self.encrypt.protect(data)
        await self.socket.sendto(data, self.target)

    async def talk(self, frequency: float, seconds: float) -> None:
        """A tone, in real time."""
        await self.say(tone(frequency, seconds, RATES[self.codec]))

    async def say(self, samples: Samples) -> None:
        """Sound at the codec's own rate, in real time."""
        beat = trio.current_time()
        for payload in frames(samples, self.codec):
            await self.send(payload)
            beat += 0.02
            await trio.sleep_until(beat)

    async def listen(self) -> None:
        """Collect what comes, for ever."""
        while True:
            data, _ = await self.socket.recvfrom(4096)
            self.raw.append(data)
            if self.decrypt and not 192 <= data[1] <= 223:
                data = self.decrypt.unprotect(data)
            packet = rtp.parse(data)
            if packet is not None:
                self.received.append(packet)

    def heard(self, rate: int = 8000) -> Samples:
        """The sound that came in this phone's codec."""
        payloads = [p.payload for p in self.received if p.payload_type == self.payload_type]
        return decode(payloads, self.codec, rate)


@asynccontextmanager
async def phone(address: str, codec: str = "PCMA", **options: Any) -> AsyncIterator[Phone]:
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as socket:
        await socket.bind((address, 0))
        found = Phone(socket, codec, **options)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(found.listen)
            yield found
            nursery.cancel_scope.cancel()


class Call:
    """A call on rtpengine; ``offer`` and ``answer`` are flags beside those every call has."""

    def __init__(self, ng: Ng, call_id: str = "") -> None:
        self.ng = ng
        self.id = call_id or f"{secrets.token_hex(6)}@phone.example"

    async def offer(self, caller: Phone, description: str = "", **flags: Any) -> str:
        return await self._ask("offer", {}, description or caller.offer(), flags)

    async def answer(self, callee: Phone, description: str = "", **flags: Any) -> str:
        return await self._ask("answer", {"to-tag": "callee"}, description or callee.offer(), flags)

    async def _ask(
        self, command: str, more: dict[str, Any], description: str, flags: dict[str, Any]
    ) -> str:
        answer = await self.ng.command(
            command,
            {
                "call-id": self.id,
                "from-tag": "caller",
                "sdp": description,
                "replace": ["origin"],
                **more,
                **{name.replace("_", "-"): value for name, value in flags.items()},
            },
        )
        return text(answer.get("sdp"))

    async def connect(self, caller: Phone, callee: Phone, **flags: Any) -> None:
        """Offer and answer with the same flags, where nothing is to be transcoded."""
        callee.take(await self.offer(caller, **flags))
        caller.take(await self.answer(callee, **flags))

    async def command(self, command: str, **more: Any) -> None:
        await self.ng.command(command, {"call-id": self.id, **more})

    async def delete(self) -> None:
        await self.command("delete")


async def both_talk(caller: Phone, callee: Phone, seconds: float = 1.0) -> None:
    """The caller sounds at 440 Hz, the callee at 1000 Hz."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller.talk, 440, seconds)
        nursery.start_soon(callee.talk, 1000, seconds)
    await trio.sleep(0.1)

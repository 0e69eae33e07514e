from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from services.core.audio import tones
from services.media import sdp
from tests.integration.media.call_manager import call_manager
from tests.integration.media.media_server import MediaServer, media_server
from tests.integration.media.phone import Phone, phone
from tests.integration.media.sound import loudness, power
from tests.support.waiting import until


class Caller:
    """A Call Manager's SIP side, by hand, on its own address."""

    def __init__(self, socket: trio.socket.SocketType, server: MediaServer) -> None:
        self.socket = socket
        self.host, self.port = socket.getsockname()[:2]
        s = server.settings
        self.target = (s.address, s.announce_port)

    def request(
        self,
        method: str,
        body: str = "",
        *,
        branch: str = "one",
        cseq: str = "",
        user: str = "busy",
        to_tag: str = "",
        **headers: str,
    ) -> bytes:
        lines = [
            f"{method} sip:{user}@{self.target[0]} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.host}:{self.port};branch=z9hG4bK{branch};rport",
            "Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bKphone",
            "Record-Route: <sip:10.0.0.1;lr;ms=media1>",
            "From: <sip:2001@sales.example>;tag=f",
            f"To: <sip:3@sales.example>{';tag=' + to_tag if to_tag else ''}",
            "Call-ID: announce@test",
            f"Contact: <sip:2001@{self.host}:{self.port}>",
            f"CSeq: {cseq or '1 ' + method}",
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        return ("\r\n".join([*lines, "", ""]) + body).encode()

    async def send(self, method: str, body: str = "", **more: Any) -> None:
        await self.socket.sendto(self.request(method, body, **more), self.target)

    async def receive(self, within: float = 15.0) -> str:
        with trio.fail_after(within):
            return (await self.socket.recv(4096)).decode()

    async def expect(self, code: int, within: float = 15.0) -> str:
        """The next response that is not a repetition of a provisional one."""
        answer = await self.receive(within)
        assert answer.startswith(f"SIP/2.0 {code} "), answer
        return answer


@asynccontextmanager
async def lab() -> AsyncIterator[tuple[MediaServer, Caller, Phone]]:
    async with (
        media_server() as (server, registry),
        call_manager(registry, f"{server.network}.1", "cm1"),
        phone(f"{server.network}.11") as listener,
    ):
        server.start("rtpengine")
        server.start("agent")
        await server.until_up(registry)
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as socket:
            await socket.bind((f"{server.network}.1", 5060))
            voices = server.settings.data_dir / "prompts"
            await until(lambda: len(list(voices.glob("spoken/*/*.wav"))) == 8)
            yield server, Caller(socket, server), listener


async def test_tone_and_voice_and_then_the_final_answer() -> None:
    async with lab() as (_, caller, listener):
        headers = {"X_PBX_Language": "de-DE", "X_PBX_Final": "404"}
        await caller.send("INVITE", listener.offer(), user="unknown-number", **headers)
        progress = await caller.expect(183)
        assert "Via: SIP/2.0/UDP 198.51.100.7:5060" in progress
        assert "Record-Route: <sip:10.0.0.1;lr;ms=media1>" in progress
        media = sdp.audio(progress.partition("\r\n\r\n")[2])
        assert media is not None
        assert (media.direction, media.payloads[0]) == ("sendonly", 8)
        started = trio.current_time()
        final = await caller.expect(404)
        took = trio.current_time() - started
        assert took > 3
        tag = re.search(r"To: .*;tag=(\w+)", final)
        assert tag
        assert f"tag={tag[1]}" in progress
        await caller.send("ACK")
        sound = listener.heard()
        assert abs(len(sound) / 8000 - took) < 0.5
        lead = 8000 * 3 // 10
        for number, frequency in enumerate(tones.SPECIAL_INFORMATION):
            piece = sound[lead + 2640 * number + 200 : lead + 2640 * (number + 1) - 200]
            assert power(piece, 8000, frequency) > 0.9, "the tones of the special information"
        voice = sound[lead + 8000 + 2400 :]
        assert loudness(voice) > 500
        assert max(power(voice, 8000, f) for f in tones.SPECIAL_INFORMATION) < 0.2, "a voice"
        with pytest.raises(trio.TooSlowError):
            await caller.receive(1.0)


async def test_each_language_says_something_else() -> None:
    async with lab() as (server, _, _2):
        prompts = server.settings.data_dir / "prompts"
        assert len({path.read_bytes() for path in prompts.rglob("*.wav")}) == 8
        assert {path.parent.name for path in prompts.rglob("*.wav")} == {"de", "en"}


async def test_cancel() -> None:
    async with lab() as (_, caller, listener):
        await caller.send("INVITE", listener.offer(), X_PBX_Final="486")
        await caller.expect(183)
        await until(lambda: len(listener.received) > 10)
        await caller.send("CANCEL")
        assert "CSeq: 1 CANCEL" in await caller.expect(200)
        assert "CSeq: 1 INVITE" in await caller.expect(487)
        await caller.send("ACK")
        count = len(listener.received)
        await trio.sleep(0.2)
        assert len(listener.received) <= count + 1, "silence after CANCEL"


async def test_a_reliable_183_is_repeated_until_prack() -> None:
    async with lab() as (_, caller, listener):
        await caller.send("INVITE", listener.offer(), Require="100rel", X_PBX_Final="486")
        first = await caller.expect(183)
        assert "Require: 100rel" in first
        assert await caller.expect(183, 1.0) == first
        sequence = re.search(r"RSeq: (\d+)", first)
        tag = re.search(r"To: .*;tag=(\w+)", first)
        assert sequence
        assert tag
        more = {"branch": "two", "to_tag": tag[1], "cseq": "2 PRACK"}
        await caller.send("PRACK", RAck=f"{int(sequence[1]) + 1} 1 INVITE", **more)
        await caller.expect(481)
        more |= {"branch": "three", "cseq": "3 PRACK"}
        await caller.send("PRACK", RAck=f"{sequence[1]} 1 INVITE", **more)
        await caller.expect(200)
        await caller.expect(486)
        await caller.send("ACK")


async def test_retransmissions_start_nothing_twice() -> None:
    async with lab() as (_, caller, listener):
        await caller.send("INVITE", listener.offer(), X_PBX_Final="486")
        first = await caller.expect(183)
        for _ in range(2):
            await caller.send("INVITE", listener.offer(), X_PBX_Final="486")
        assert await caller.expect(183) == first
        assert await caller.expect(183) == first
        final = await caller.expect(486)
        assert await caller.expect(486, 1.0) == final, "until it is acknowledged"
        await caller.send("ACK")
        assert len({p.ssrc for p in listener.received}) == 1


async def test_strangers_and_garbage_get_nothing() -> None:
    async with lab() as (server, caller, listener):
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as socket:
            await socket.bind((f"{server.network}.66", 5060))
            stranger = Caller(socket, server)
            await stranger.send("INVITE", listener.offer())
            with pytest.raises(trio.TooSlowError):
                await stranger.receive(0.5)
        for garbage in (b"", b"\r\n\r\n", b"\x00" * 500, b"INVITE", b"\xff\xfe SIP/2.0\r\n\r\n"):
            await caller.socket.sendto(garbage, caller.target)
        await caller.send("OPTIONS")
        assert "Allow: INVITE" in await caller.expect(200)
        await caller.send("INVITE", "v=0\r\nnonsense", branch="x", X_PBX_Final="480")
        await caller.expect(480)
        await caller.send("ACK", branch="x")
        await caller.send("INVITE", listener.offer(), branch="y", user="no-such")
        await caller.expect(404)
        assert "no Call Manager's" in server.log("agent")

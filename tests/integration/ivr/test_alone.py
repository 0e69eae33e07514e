"""An IVR server's calls without a Call Manager: who gets in, what is heard, what keys do."""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
import trio

from pbxctl.probe import audio
from services.core.audio import AudioPlane
from services.core.audio.g711 import ALAW
from services.core.menus import Collect, Fetch, HangUp, Menu, Play, Prompt, Say, Sound
from services.core.sip import Call, CallRefusedError, Flow, UserAgent, sdp
from services.ivr.answering import Answering
from services.ivr.boxes import Boxes
from services.ivr.call import Book
from services.ivr.cluster import CallManagers
from services.ivr.health import Checker
from services.ivr.keylog import KeyLog
from services.ivr.library import Library
from services.ivr.server import Server
from services.ivr.service import Ivr
from services.ivr.settings import IvrSettings
from services.ivr.tapes import Tapes
from services.ivr.ways import Ways
from services.ivr.web import Web
from tests.support.hosts import loopback_network
from tests.support.ivr_phone import invited

VOICE = {"main": 2, "orders": 1}
RATE = 8000


class Caller:
    """A user agent with an ear: what comes as RTP is kept as samples."""

    def __init__(self, agent: UserAgent, ear: trio.socket.SocketType, key: bytes) -> None:
        self.agent = agent
        self.key = key
        self._ear = ear
        self._heard: list[bytes] = []
        self._sequence = 0

    async def listen(self) -> None:
        while True:
            data, _ = await self._ear.recvfrom(2048)
            if data[1] & 0x7F == 8:
                self._heard.append(data[12:])

    @property
    def samples(self) -> audio.Samples:
        codes = np.frombuffer(b"".join(self._heard), np.uint8)
        return ALAW[codes].astype(np.float32) / np.float32(32768)

    async def hears(self, voice: int, seconds: float = 1.5) -> None:
        """The voice is heard well in the next ``seconds``."""
        await trio.sleep(0.3)
        start = len(self._heard)
        with trio.fail_after(10):
            while len(self._heard) < start + seconds * 50:  # noqa: ASYNC110 - it is a deadline
                await trio.sleep(0.05)
        found = audio.judge(self.samples[start * 160 :], RATE, voice)
        assert found.likeness > 0.8, found

    async def press(self, key: str, call: Call) -> None:
        """A telephone event (RFC 4733): its start, and its end three times."""
        there = sdp.audio(call.remote_sdp)
        assert there is not None
        code = "0123456789*#".index(key)
        stamp = secrets.randbits(31)
        for step in range(1, 8):
            ended = 0x80 if step > 4 else 0
            duration = min(step, 5) * 160
            self._sequence += 1
            head = bytes([0x80, 101 | (0x80 if step == 1 else 0)])
            head += self._sequence.to_bytes(2, "big") + stamp.to_bytes(4, "big") + b"\0\0\0\7"
            event = bytes([code, ended | 10]) + duration.to_bytes(2, "big")
            await self._ear.sendto(head + event, (there.address, there.port))
            await trio.sleep(0.02)

    @asynccontextmanager
    async def call(self, target: str = "main", *, sealed: bool = True) -> AsyncGenerator[Call]:
        call_id = f"{secrets.token_hex(6)}@test"
        port = self._ear.getsockname()[1]
        async with self.agent.dial(
            f"sip:{target}@{self.agent.address}",
            sdp.offer(self.agent.address, port, (sdp.PCMA,)),
            call_id=call_id,
            headers=[invited(self.key, call_id, target)] if sealed else [],
            cancel_on_end=False,
        ) as call:
            yield call


class Alone:
    """The server's parts, without registry and Call Manager."""

    def __init__(self, ivr: Ivr, caller: Caller, checker: Checker) -> None:
        self.ivr = ivr
        self.caller = caller
        self.checker = checker


def prompt(name: str, directory: Path) -> Prompt:
    digest = "0" * 63 + str(VOICE[name])
    path = directory / "sounds" / digest
    path.parent.mkdir(exist_ok=True)
    audio.write_wav(path, audio.speak(VOICE[name], 16000), 16000)
    return {"en": Sound(digest=digest)}


def menus(directory: Path, url: str = "http://127.0.0.1:1/") -> dict[str, Menu]:
    ask = (
        Collect(prompt={}, into="number", least=2),
        Fetch(url=url, send={"n": "{number}"}, take={"to": "to"}),
        Play(prompt=prompt("orders", directory)),
    )
    return {
        "main": Menu(
            name="main",
            prompt=prompt("main", directory),
            keys={"1": (Say(kind="number", value="42"), HangUp()), "2": ask},
            retries=0,
        )
    }


@asynccontextmanager
async def alone(directory: Path, *, url: str = "", capacity: int = 10) -> AsyncGenerator[Alone]:
    secret = directory / "secrets"
    secret.mkdir()
    (secret / "cluster_key").write_text("5a" * 32)
    (secret / "admin_token").write_text("token")
    with loopback_network() as network:
        s = IvrSettings(
            cluster="c",
            server="app1",
            release="1",
            registry="http://127.0.0.1:1",
            address=f"{network}.31",
            data_dir=directory,
            run_dir=directory,
            secrets_dir=secret,
            vip=f"{network}.1",
            capacity=capacity,
        )
        ivr = Ivr(s)
        key = s.cluster_key()
        stack = AsyncExitStack()
        ear = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stack.callback(ear.close)
        await ear.bind((f"{network}.40", 0))
        ports = (s.audio_port, s.audio_port + 7)
        there = Flow("udp", s.address, s.sip_port)
        async with (
            stack,
            AudioPlane(s.address, ports=ports, capacity=20) as plane,
            UserAgent(s.address, s.sip_port, name="app1") as agent,
            UserAgent(f"{network}.40", 0, manager=there, name="caller") as phone,
            httpx.AsyncClient() as http,
            Checker(s.address, s.sip_port, key) as checker,
            trio.open_nursery() as nursery,
        ):
            managers = CallManagers(http, lambda: (), key)
            library = Library(directory / "sounds", plane, managers.sound)
            server = Server(
                agent=agent,
                library=library,
                managers=managers,
                keylog=KeyLog(http, lambda: ()),
                tapes=Tapes(s.cluster, None),
                ways=Ways(http, lambda: ()),
                web=Web(http, managers.secret),
                key=key,
                domain=s.vip,
                book=lambda tenant: Book(tenant=tenant, menus=menus(directory, url)),
                plane=plane,
                boxes=Boxes(directory / "voicemail", http, lambda: ()),
            )
            caller = Caller(phone, ear, key)
            nursery.start_soon(caller.listen)
            nursery.start_soon(agent.serve, Answering(server, ivr.state).answer)
            yield Alone(ivr, caller, checker)
            nursery.cancel_scope.cancel()


async def test_a_prompt_is_heard_and_a_key_breaks_into_it(tmp_path: Path) -> None:
    async with alone(tmp_path) as there, there.caller.call() as call:
        await there.caller.hears(VOICE["main"])
        await there.caller.press("1", call)
        with trio.fail_after(15):
            ended = await call.wait_ended()
        assert ended.by == "them"
        assert there.ivr.state.served == 1
    assert there.ivr.state.calls == 0


async def test_the_check_is_a_call_that_is_heard(tmp_path: Path) -> None:
    async with alone(tmp_path, capacity=0) as there:
        assert 0 < await there.checker.check() < 1.0
        # It counts as no call, and gets in where nobody else does.
        assert there.ivr.state.served == 0
        with pytest.raises(CallRefusedError, match="503"):
            async with there.caller.call():
                pass


async def test_nobody_gets_in_without_a_passport(tmp_path: Path) -> None:
    async with alone(tmp_path) as there:
        with pytest.raises(CallRefusedError, match="403"):
            async with there.caller.call(sealed=False):
                pass


async def test_a_held_call_is_silent_and_goes_on(tmp_path: Path) -> None:
    async with alone(tmp_path) as there, there.caller.call() as call:
        await there.caller.hears(VOICE["main"])
        await call.hold()
        await trio.sleep(0.3)
        before = len(there.caller.samples)
        await trio.sleep(0.3)
        assert len(there.caller.samples) == before
        await call.resume()
        await there.caller.hears(VOICE["main"])


async def test_a_web_service_is_asked_with_what_was_entered(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def shop(stream: trio.SocketStream) -> None:
        data = b""
        while b"\r\n\r\n" not in data or not data.rstrip().endswith(b"}"):
            data += await stream.receive_some()
        asked.append(data)
        body = b'{"to": "sales"}'
        await stream.send_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
        )
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener, *_) = await nursery.start(partial(trio.serve_tcp, shop, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        async with (
            alone(tmp_path, url=f"http://127.0.0.1:{port}/") as there,
            there.caller.call() as call,
        ):
            await there.caller.hears(VOICE["main"])
            for key in ("2", "4", "2", "#"):
                await there.caller.press(key, call)
            await there.caller.hears(VOICE["orders"])
        nursery.cancel_scope.cancel()
    assert b'"n":"42"' in asked[0].replace(b": ", b":")
    assert b'"caller":"+4930555"' in asked[0].replace(b": ", b":")

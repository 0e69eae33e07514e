"""A second make of phone: baresip, in a process and a directory of its own.

It is driven by its own module for that, ctrl_tcp: JSON in netstrings. It speaks from a WAV (aufile)
and writes what it hears to another (sndfile). Several may run at once, each at its own address.
"""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import trio

from pbxctl.probe import audio
from pbxctl.probe.audio import Heard, Samples

RATES = {"PCMA": 8000, "PCMU": 8000, "G722": 16000, "opus": 48000}
"""Of the files that baresip plays and writes for each codec; it resamples badly, so it need not."""
HEADER = 44
"""Bytes before the samples of a WAV as sndfile writes it."""
CONTROL = 4444
WITHIN = 30.0
SPEECH = 60.0
"""Seconds that it can speak for: aufile plays its file once."""

CONFIG = """\
poll_method epoll
sip_listen {address}:5060
sip_cafile {ca_file}
net_interface {address}
audio_player aubridge,nowhere
audio_alert aubridge,nowhere
ausrc_channels 1
audio_source aufile,{directory}/speech.wav
module_path /usr/lib/baresip/modules
module g711.so
module g722.so
module opus.so
module sndfile.so
module aufile.so
module aubridge.so
module srtp.so
module dtls_srtp.so
module uuid.so
module_app account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {address}:{control}
snd_path {directory}
"""


class Baresip:
    """One baresip with one account. Events are its own, as dictionaries, oldest first."""

    def __init__(self, username: str, domain: str, voice: int, directory: Path) -> None:
        self.username = username
        self.domain = domain
        self.voice = voice
        self.directory = directory
        self.events: list[dict[str, Any]] = []
        self._replies: list[dict[str, Any]] = []
        self._news = trio.Event()
        self._control: trio.SocketStream | None = None

    def describe(self, problem: str) -> str:
        events = "\n".join(f"  {event}" for event in self.events[-15:])
        log = (self.directory / "output.log").read_text(errors="replace")[-4000:]
        return f"baresip {self.username}: {problem}\n{events}\n{log}"

    async def do(self, command: str, parameters: str = "") -> str:
        """What baresip says to one of its commands; fails if it refuses."""
        assert self._control is not None
        body = msgspec.json.encode({"command": command, "params": parameters})
        before = len(self._replies)
        await self._control.send_all(b"%d:%s," % (len(body), body))
        await self._until(lambda: len(self._replies) > before, f"a reply to {command}")
        reply = self._replies[before]
        assert reply["ok"], self.describe(f"{command} {parameters}: {reply['data']}")
        return reply["data"]

    async def wait(self, kind: str, *, within: float = WITHIN, after: int = 0) -> dict[str, Any]:
        """The first event of a kind (``CALL_ESTABLISHED``) from index ``after`` on."""

        def found() -> dict[str, Any] | None:
            return next((e for e in self.events[after:] if e["type"] == kind), None)

        await self._until(lambda: found() is not None, kind, within=within)
        event = found()
        assert event is not None
        return event

    async def dial(self, to: str) -> None:
        await self.do("dial", to if to.startswith("sip") else f"sip:{to}@{self.domain}")

    async def answer(self) -> None:
        """Take the call that comes in."""
        await self.wait("CALL_INCOMING")
        await self.do("accept")
        await self.wait("CALL_ESTABLISHED")

    async def hang_up(self) -> None:
        await self.do("hangup")
        await self.wait("CALL_CLOSED")

    def samples(self) -> tuple[Samples, int]:
        """What it has heard in its last call so far, and the sampling rate."""
        files = sorted(self.directory.glob("dump-*-dec.wav"), key=lambda path: path.stat().st_mtime)
        content = files[-1].read_bytes() if files else b""
        if len(content) < HEADER:
            return np.zeros(0, np.float32), 8000
        channels, rate = struct.unpack_from("<HI", content, 22)
        whole = (len(content) - HEADER) // (2 * channels) * 2 * channels
        rows = np.frombuffer(content, "<i2", whole // 2, HEADER).astype(np.float32)
        return rows.reshape(-1, channels)[:, 0] / np.float32(32768), rate

    async def hears(self, voice: int, *, seconds: float = 2.0, settle: float = 0.3) -> Heard:
        """How ``voice`` was heard in ``seconds`` of what comes from now on.

        Its recording has what came, not when: a gap shows only in that less comes.
        """
        await trio.sleep(settle)
        begin = len(self.samples()[0])
        await trio.sleep(seconds + 0.3)
        samples, rate = self.samples()
        return audio.judge(samples[begin:], rate, voice, start=0.02, end=seconds)

    async def _until(
        self, condition: Callable[[], bool], what: str, *, within: float = WITHIN
    ) -> None:
        with trio.move_on_after(within):
            while not condition():
                await self._news.wait()
            return
        raise AssertionError(self.describe(f"{within:g} s were too short for {what}"))

    async def connect(self, address: str, process: trio.Process) -> None:
        """Open the control connection as soon as there is somebody to open it to."""
        with trio.move_on_after(WITHIN):
            while self._control is None:
                if process.poll() is not None:
                    raise AssertionError(self.describe(f"ended with {process.returncode}"))
                try:
                    self._control = await trio.open_tcp_stream(address, CONTROL)
                except OSError:
                    await trio.sleep(0.05)
            return
        raise AssertionError(self.describe("its control port did not open"))

    async def disconnect(self) -> None:
        if self._control is not None:
            await self._control.aclose()

    async def listen(self) -> None:
        """Take in what baresip says, for as long as the phone lives."""
        assert self._control is not None
        pending = b""
        async for received in self._control:
            pending += received
            while b":" in pending:
                size, _, rest = pending.partition(b":")
                if len(rest) <= int(size):
                    break
                # baresip leaves control characters of its coloured output in its JSON.
                message = msgspec.json.decode(rest[: int(size)])
                pending = rest[int(size) + 1 :]
                (self.events if message.get("event") else self._replies).append(message)
            self._news.set()
            self._news = trio.Event()


@asynccontextmanager
async def baresip(
    username: str,
    domain: str,
    password: str,
    server: str,
    *,
    address: str,
    voice: int = 0,
    transport: Literal["udp", "tcp", "tls"] = "udp",
    codecs: str = "PCMA",
    encryption: str = "",
    ca_file: str = "",
) -> AsyncGenerator[Baresip]:
    """A registered baresip at ``address``. ``server`` is ``host:port``; ``encryption`` a mediaenc
    of baresip's (``srtp``, ``srtp-mand``, ``dtls_srtp``)."""
    rate = RATES[re.split("[,/]", codecs)[0]]
    with tempfile.TemporaryDirectory(prefix="baresip-") as name:
        directory = Path(name)
        phone = Baresip(username, domain, voice, directory)
        audio.write_wav(directory / "speech.wav", audio.speak(voice, rate, seconds=SPEECH), rate)
        config = CONFIG.format(
            address=address, ca_file=ca_file, directory=directory, control=CONTROL
        )
        if not ca_file:
            config = config.replace("sip_cafile \n", "")
        (directory / "config").write_text(config)
        account = [f"<sip:{username}@{domain}>", f"auth_user={username}", f"auth_pass={password}"]
        account += [f'outbound="sip:{server};transport={transport}"', "regint=300"]
        account += [f"audio_codecs={codecs}", "answermode=manual"]
        account += [f"mediaenc={encryption}"] if encryption else []
        (directory / "accounts").write_text(";".join(account) + "\n")
        (directory / "contacts").touch()
        with (directory / "output.log").open("wb") as output:
            process = await trio.lowlevel.open_process(
                ["baresip", "-f", str(directory)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            await phone.connect(address, process)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(phone.listen)
                await _registered(phone)
                yield phone
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await phone.disconnect()
                if process.poll() is None:
                    process.terminate()
                    with trio.move_on_after(3):
                        await process.wait()
                if process.poll() is None:
                    process.kill()
                    await process.wait()


async def _registered(phone: Baresip) -> None:
    """baresip may have registered before anybody listened for the event."""
    end = trio.current_time() + WITHIN
    while "OK" not in await phone.do("reginfo"):
        if trio.current_time() > end:
            raise AssertionError(phone.describe("it did not register"))
        await trio.sleep(0.05)

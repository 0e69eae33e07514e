"""Phones for tests: PJSIP's, each in a process of its own, with deadlines and what they heard.

Every wait has a deadline and fails with what the phone has seen until then. A phone speaks a voice
of `pbxctl.probe.audio` in every call and records all that it hears.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import trio

from pbxctl.probe import audio, protocol
from pbxctl.probe.audio import Heard, Samples
from pbxctl.probe.softphone import PhoneError, SoftPhone, soft_phone

RATE = 16000
WITHIN = 30.0
"""Seconds that a phone waits for anything, unless told otherwise."""
HEADER = 44
"""Bytes before the samples of a WAV as PJSIP writes it."""

E = TypeVar("E", bound=protocol.Event)


class PhoneCall:
    """One call of a `Phone`, by its number there."""

    def __init__(self, phone: Phone, number: int, recording: Path) -> None:
        self.phone = phone
        self.number = number
        self.recording = recording

    async def until(self, state: protocol.CallState, *, within: float = WITHIN) -> protocol.Changed:
        """The change to ``state``; fails if the call ends instead."""
        found = await self.phone.wait(
            protocol.Changed,
            lambda event: event.call == self.number and event.state in (state, "disconnected"),
            within=within,
            what=f"call {self.number} to be {state}",
        )
        assert found.state == state, self.phone.describe(
            f"call {self.number} ended with {found.code} {found.text} instead of being {state}"
        )
        return found

    async def ended(self, *, within: float = WITHIN) -> protocol.Changed:
        """How it ended."""
        return await self.until("disconnected", within=within)

    async def media(self, state: str, *, within: float = WITHIN, after: int = 0) -> protocol.Media:
        """The first report that the audio is in ``state``, of the phone's events from ``after``."""
        return await self.phone.wait(
            protocol.Media,
            lambda event: event.call == self.number and event.state == state,
            within=within,
            what=f"audio of call {self.number} to be {state}",
            after=after,
        )

    async def ring(self, code: int = 180) -> None:
        await self.phone.do(protocol.Answer(call=self.number, code=code))

    async def answer(self) -> None:
        """Accept, and speak."""
        self.recording = self.phone.new_recording()
        await self.phone.do(
            protocol.Answer(
                call=self.number, send=str(self.phone.speech), record=str(self.recording)
            )
        )
        await self.until("confirmed")

    async def refuse(self, code: int = 486) -> None:
        await self.phone.do(protocol.Answer(call=self.number, code=code))

    async def hang_up(self) -> None:
        """End the call, if the far end has not, and wait until it has."""
        with contextlib.suppress(PhoneError):
            await self.phone.do(protocol.Hangup(call=self.number))
        await self.ended()

    async def hold(self) -> None:
        after = len(self.phone.events)
        await self.phone.do(protocol.Hold(call=self.number))
        await self.media("held", after=after)

    async def resume(self) -> None:
        after = len(self.phone.events)
        await self.phone.do(protocol.Resume(call=self.number))
        await self.media("active", after=after)

    async def transfer(self, to: str | PhoneCall) -> protocol.Transferred:
        """Blind to an extension or URI, attended to another call of this phone; how it ended.

        As desk phones do, it hangs up its own call when the transfer has succeeded.
        """
        if isinstance(to, PhoneCall):
            command = protocol.Transfer(call=self.number, other=to.number)
        else:
            command = protocol.Transfer(call=self.number, uri=self.phone.uri(to))
        await self.phone.do(command)
        end = await self.phone.wait(
            protocol.Transferred,
            lambda event: event.call == self.number and event.final,
            what="the transfer to end",
        )
        if end.code == 200:
            await self.hang_up()
        return end

    async def replaced(self, *, within: float = WITHIN) -> PhoneCall:
        """The call in which this phone goes on, with the same recording."""
        event = await self.phone.wait(
            protocol.Replaced,
            lambda event: event.call == self.number,
            within=within,
            what=f"call {self.number} to be replaced",
        )
        return PhoneCall(self.phone, event.by, self.recording)

    async def dial_tones(self, digits: str, *, info: bool = False) -> None:
        await self.phone.do(protocol.Dtmf(call=self.number, digits=digits, info=info))

    async def statistics(self) -> protocol.Stream:
        reply = await self.phone.do(protocol.Statistics(call=self.number))
        assert reply.stream is not None
        return reply.stream

    def samples(self) -> Samples:
        """What has been heard so far; also while the call is up, a moment late."""
        content = self.recording.read_bytes()[HEADER:] if self.recording.exists() else b""
        samples = np.frombuffer(content[: len(content) // 2 * 2], "<i2").astype(np.float32)
        return samples / np.float32(32768)

    async def hears(self, voice: int, *, seconds: float = 2.0, settle: float = 0.3) -> Heard:
        """How ``voice`` was heard in the next ``seconds``, from after ``settle`` on."""
        begin = time.monotonic() + settle - self.started()
        # The recording is written in blocks of 125 ms.
        await trio.sleep(settle + seconds + 0.3)
        return self.heard(voice, since=begin, until=begin + seconds)

    def heard(self, voice: int, *, since: float | None = None, until: float | None = None) -> Heard:
        """How ``voice`` was heard between two times, in seconds of the recording."""
        return audio.judge(self.samples(), RATE, voice, start=since, end=until)

    def started(self) -> float:
        """When the recording began, on the monotonic clock."""
        for event in self.phone.events:
            if isinstance(event, protocol.Media) and event.call == self.number and event.recording:
                return event.recording
        raise AssertionError(self.phone.describe(f"call {self.number} has no recording"))


class Phone:
    """A registered or not yet registered phone of user ``username``."""

    def __init__(
        self, soft: SoftPhone, username: str, domain: str, voice: int, directory: Path
    ) -> None:
        self.soft = soft
        self.username = username
        self.domain = domain
        self.voice = voice
        self.directory = directory
        self.speech = directory / "speech.wav"
        audio.write_wav(self.speech, audio.speak(voice, RATE), RATE)
        self._recordings = 0
        self._calls_taken = 0

    @property
    def events(self) -> list[protocol.Event]:
        return self.soft.events

    def uri(self, to: str) -> str:
        return to if to.startswith("sip") else f"sip:{to}@{self.domain}"

    def new_recording(self) -> Path:
        self._recordings += 1
        return self.directory / f"heard-{self._recordings}.wav"

    def describe(self, problem: str) -> str:
        """A problem, the last events and the last of PJSIP's log."""
        events = "\n".join(f"  {event}" for event in self.events[-20:])
        log = "\n".join(self.soft.log[-60:])
        return f"phone {self.username}: {problem}\n{events}\n{log}"

    async def do(self, command: protocol.Command) -> protocol.Done:
        with trio.move_on_after(WITHIN):
            return await self.soft.do(command)
        raise AssertionError(self.describe(f"no reply to {command}"))

    async def wait(
        self,
        kind: type[E],
        matches: Callable[[E], bool] = lambda _: True,
        *,
        within: float = WITHIN,
        what: str = "",
        after: int = 0,
    ) -> E:
        """The first event of a kind that matches; fails with what was seen past ``within`` s."""
        try:
            with trio.move_on_after(within):
                return await self.soft.wait(kind, matches, after=after)
        except PhoneError as error:
            raise AssertionError(self.describe(str(error))) from None
        wanted = what or kind.__name__
        raise AssertionError(self.describe(f"{within:g} s were too short for {wanted}"))

    async def register(
        self,
        server: str,
        password: str,
        *,
        encryption: protocol.Encryption = "none",
        expires: int = 300,
        prack: bool = False,
        within: float = WITHIN,
    ) -> protocol.Registered:
        """The final answer to a REGISTER, whatever it is. ``server`` as ``sip:host:port``."""
        after = len(self.events)
        await self.do(
            protocol.Register(
                aor=f"sip:{self.username}@{self.domain}",
                server=server,
                username=self.username,
                password=password,
                encryption=encryption,
                expires=expires,
                prack=prack,
            )
        )
        return await self.wait(protocol.Registered, within=within, after=after)

    async def unregister(self) -> protocol.Registered:
        after = len(self.events)
        await self.do(protocol.Unregister())
        return await self.wait(protocol.Registered, after=after)

    async def dial(
        self, to: str, *, headers: dict[str, str] | None = None, late_offer: bool = False
    ) -> PhoneCall:
        """A call to an extension or URI, under way."""
        recording = self.new_recording()
        done = await self.do(
            protocol.Dial(
                uri=self.uri(to),
                send=str(self.speech),
                record=str(recording),
                headers=headers or {},
                late_offer=late_offer,
            )
        )
        assert done.call is not None
        return PhoneCall(self, done.call, recording)

    async def called(self, *, within: float = WITHIN) -> PhoneCall:
        """The next call that comes in, or has come in and was not taken by this yet."""
        call, _ = await self.called_with_headers(within=within)
        return call

    async def called_with_headers(
        self, *, within: float = WITHIN
    ) -> tuple[PhoneCall, protocol.Called]:
        event = await self.wait(
            protocol.Called, within=within, what="a call to come in", after=self._calls_taken
        )
        self._calls_taken = self.events.index(event) + 1
        return PhoneCall(self, event.call, self.directory / "none.wav"), event


@asynccontextmanager
async def phone(
    username: str,
    domain: str,
    *,
    voice: int = 0,
    transport: protocol.Transport = "udp",
    address: str = "",
    codecs: tuple[str, ...] = protocol.CODECS,
    ca_file: str = "",
    log_level: int = 4,
) -> AsyncGenerator[Phone]:
    """A phone at ``address``; its process is gone at the end. Without ``ca_file`` it trusts any."""
    start = protocol.Start(
        transport=transport,
        address=address,
        codecs=codecs,
        ca_file=ca_file,
        verify=bool(ca_file),
        log_level=log_level,
    )
    with tempfile.TemporaryDirectory(prefix="phone-") as directory:
        async with soft_phone(username, start) as soft:
            yield Phone(soft, username, domain, voice, Path(directory))


async def talk(caller: Phone, callee: Phone, to: str = "") -> tuple[PhoneCall, PhoneCall]:
    """``caller`` calls ``callee`` (by ``to``, if it has another number), who rings and answers."""
    near = await caller.dial(to or callee.username)
    far = await callee.called()
    await far.ring()
    await near.until("early")
    await far.answer()
    await near.until("confirmed")
    return near, far


async def hear_each_other(
    *sides: tuple[PhoneCall, int], seconds: float = 2.0, likeness: float = 0.8
) -> None:
    """Each call, given with the voice that it should hear, hears it whole, at the same time."""
    heard: dict[int, Heard] = {}

    async def listen(index: int, call: PhoneCall, voice: int) -> None:
        heard[index] = await call.hears(voice, seconds=seconds)

    async with trio.open_nursery() as nursery:
        for index, (call, voice) in enumerate(sides):
            nursery.start_soon(listen, index, call, voice)
    for index, (call, voice) in enumerate(sides):
        found = heard[index]
        good = found.likeness > likeness and found.coverage > 0.95 and found.longest_gap < 100
        assert good, call.phone.describe(f"does not hear voice {voice} well: {found}")

"""The part of `make run` that calls a menu: what the caller heard is left as a WAV."""

from __future__ import annotations

from pathlib import Path

import msgspec
import trio

from pbxctl.probe import audio, protocol
from pbxctl.probe.softphone import PhoneError, SoftPhone, soft_phone

MENU = "800"
GREETING = 4.0
"""Seconds that the caller listens before it presses keys."""
TALK = 3.0
WITHIN = 30.0
VOICE = 1
RATE = 16000
SPOKEN = -40.0
"""dBFS: quieter than this is no prompt."""
LIKENESS = 0.8


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """``greeting`` is how loud the prompt was, dBFS; ``likeness`` that of who was connected."""

    greeting: float
    likeness: float
    recording: Path

    @property
    def ok(self) -> bool:
        """Whether the menu spoke, and the key led to the one who was dialled."""
        return self.greeting > SPOKEN and self.likeness > LIKENESS


async def call(
    server: str, domain: str, caller: tuple[str, str], callee: tuple[str, str], out: Path
) -> Heard:
    """``caller`` calls the menu, listens, and dials ``callee``; both are extension and password.

    Raises PhoneError; TooSlowError past `WITHIN` seconds.
    """
    heard = out / "menu-heard-by-caller.wav"
    speech = out / "callee-speaks.wav"
    audio.write_wav(speech, audio.speak(VOICE, RATE), RATE)
    start = protocol.Start(transport="udp")
    with trio.fail_after(WITHIN):
        async with soft_phone("caller", start) as near, soft_phone("callee", start) as far:
            await _register(near, server, domain, *caller)
            await _register(far, server, domain, *callee)
            dial = protocol.Dial(uri=f"sip:{MENU}@{domain}", record=str(heard))
            number = (await near.do(dial)).call or 0
            await _until(near, number, "confirmed")
            await trio.sleep(GREETING)
            await near.do(protocol.Dtmf(call=number, digits=f"{callee[0]}#"))
            called = await far.wait(protocol.Called)
            await far.do(protocol.Answer(call=called.call, send=str(speech)))
            await _until(far, called.call, "confirmed")
            await trio.sleep(TALK)
            await near.do(protocol.Hangup(call=number))
            await near.wait(protocol.Recorded)
    speech.unlink()
    (samples, *_), rate = audio.read_wav(heard)
    greeting = audio.loudness(samples[rate // 2 : int(GREETING * rate)])
    end = len(samples) / rate
    voice = audio.judge(samples, rate, VOICE, start=end - TALK + 1.0, end=end - 0.3)
    return Heard(greeting=greeting, likeness=voice.likeness, recording=heard)


async def _register(
    phone: SoftPhone, server: str, domain: str, extension: str, password: str
) -> None:
    await phone.do(
        protocol.Register(
            aor=f"sip:{extension}@{domain}", server=server, username=extension, password=password
        )
    )
    answer = await phone.wait(protocol.Registered)
    if answer.code != 200:
        raise PhoneError(f"{extension} cannot register: {answer.code} {answer.text}")


async def _until(phone: SoftPhone, call: int, state: protocol.CallState) -> None:
    found = await phone.wait(
        protocol.Changed, lambda e: e.call == call and e.state in (state, "disconnected")
    )
    if found.state != state:
        raise PhoneError(f"{phone.name}: the call ended with {found.code} {found.text}")

"""One probe of one transport: two phones, one call, both ways of its audio."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import trio

from pbxctl.probe import audio, protocol
from pbxctl.probe.report import (
    Account,
    Direction,
    ProbeError,
    Target,
    Trial,
    audio_problems,
    call_problem,
    direction,
    registration_problem,
)
from pbxctl.probe.softphone import PhoneError, SoftPhone, soft_phone

REGISTER = 10.0
"""Seconds, as those below: longer than a phone's user would wait."""
RINGING = 10.0
ANSWER = 10.0
END = 5.0
CLOCK = 16000


async def probe_transport(
    transport: protocol.Transport,
    target: Target,
    caller: Account,
    callee: Account,
    *,
    address: str,
    seconds: float,
    codecs: tuple[str, ...],
    encryption: protocol.Encryption,
    directory: Path,
) -> Trial:
    """Register both accounts, call, let both speak for ``seconds``, hang up, compare.

    Whatever fails is in the trial's ``problems``. The recordings are left in ``directory``.
    """
    probe = _Probe(transport, target, caller, callee, seconds, encryption, directory)
    start = protocol.Start(
        transport=transport,
        address=address,
        codecs=codecs,
        verify=target.verify,
        ca_file=target.ca_file,
    )
    try:
        async with (
            soft_phone(caller.username, start) as near,
            soft_phone(callee.username, start) as far,
        ):
            return await probe.run(near, far)
    except (ProbeError, PhoneError) as error:
        return msgspec.structs.replace(probe.trial, problems=(str(error),))


class _Probe:
    """Holds what is known so far, so that a failure reports what came before it."""

    def __init__(
        self,
        transport: protocol.Transport,
        target: Target,
        caller: Account,
        callee: Account,
        seconds: float,
        encryption: protocol.Encryption,
        directory: Path,
    ) -> None:
        self.trial = Trial(transport=transport)
        self.target = target
        self.caller = caller
        self.callee = callee
        self.seconds = seconds
        self.encryption: protocol.Encryption = encryption
        self.directory = directory

    async def run(self, near: SoftPhone, far: SoftPhone) -> Trial:
        took = [await self._register(near, self.caller), await self._register(far, self.callee)]
        self._know(register=max(took))

        voices = [self.directory / f"voice-{number}.wav" for number in range(2)]
        for number, path in enumerate(voices):
            audio.write_wav(path, audio.speak(number, CLOCK), CLOCK)
        heard = [
            self.directory / f"{self.trial.transport}-heard-by-{end}.wav"
            for end in (self.caller.username, self.callee.username)
        ]

        dialled = await near.do(
            protocol.Dial(uri=self.callee.aor, send=str(voices[0]), record=str(heard[0]))
        )
        assert dialled.call is not None  # noqa: S101  (a Dial's reply has it)
        asked = await self._ring(near, far, dialled)
        answer = await far.do(
            protocol.Answer(call=asked.call, send=str(voices[1]), record=str(heard[1]))
        )
        confirmed = await self._progress(near, dialled.call, {"confirmed"}, ANSWER)
        self._know(answer=max(confirmed.time - answer.time, 0.0))
        await trio.sleep(self.seconds)

        streams = [await _stream(near, dialled.call), await _stream(far, asked.call)]
        self._know(codec=_codec(streams[0]), encrypted=all(s.encrypted for s in streams))
        await near.do(protocol.Hangup(call=dialled.call))
        with trio.move_on_after(END) as waiting:
            await near.wait(protocol.Changed, lambda event: event.state == "disconnected")
            await far.wait(protocol.Changed, lambda event: event.state == "disconnected")
            await near.wait(protocol.Recorded)
            await far.wait(protocol.Recorded)
        if waiting.cancelled_caught:
            raise ProbeError(f"{self.caller.username} hung up, and the call did not end")
        ways = (
            self._way(far, near, self.callee, self.caller, 1, heard[0], streams[0], confirmed.time),
            self._way(near, far, self.caller, self.callee, 0, heard[1], streams[1], confirmed.time),
        )
        for phone in (near, far):
            with trio.move_on_after(END):
                before = len(phone.events)
                await phone.do(protocol.Unregister())
                await phone.wait(protocol.Registered, after=before)
        self._know(directions=ways, problems=audio_problems(ways))
        return self.trial

    async def _register(self, phone: SoftPhone, account: Account) -> float:
        """Seconds that it took. Raises ProbeError."""
        where = self.target.uri(self.trial.transport)
        asked = await phone.do(
            protocol.Register(
                aor=account.aor,
                server=where,
                username=account.username,
                password=account.password,
                encryption=self.encryption,
            )
        )
        with trio.move_on_after(REGISTER):
            answer = await phone.wait(protocol.Registered)
            if 200 <= answer.code < 300:
                return answer.time - asked.time
            raise ProbeError(
                registration_problem(answer, account, where, _connection_problem(phone))
            )
        silent = protocol.Registered(time=0, code=408, text="", expires=0)
        raise ProbeError(registration_problem(silent, account, where, _connection_problem(phone)))

    async def _ring(
        self, near: SoftPhone, far: SoftPhone, dialled: protocol.Done
    ) -> protocol.Called:
        """Until the caller knows that the callee rings."""
        assert dialled.call is not None  # noqa: S101
        called: list[protocol.Called] = []
        async with trio.open_nursery() as nursery:

            async def ring() -> None:
                called.append(await far.wait(protocol.Called))
                await far.do(protocol.Answer(call=called[0].call, code=180))

            nursery.start_soon(ring)
            problem: ProbeError | None = None
            try:
                ringing = await self._progress(
                    near, dialled.call, {"early", "confirmed"}, RINGING, code=180
                )
                self._know(ringing=ringing.time - dialled.time)
            except ProbeError as error:
                problem = error
            if not called:
                nursery.cancel_scope.cancel()
        if problem is not None:
            raise problem
        if not called:
            raise ProbeError(
                f"call to {self.callee.username}: somebody else answered: the PBX sent it elsewhere"
            )
        return called[0]

    async def _progress(
        self, phone: SoftPhone, call: int, states: set[str], within: float, code: int = 0
    ) -> protocol.Changed:
        """The call's change to one of ``states``, of at least ``code``. Raises ProbeError."""
        with trio.move_on_after(within):
            event = await phone.wait(
                protocol.Changed,
                lambda event: (
                    event.call == call
                    and (
                        (event.state in states and event.code >= code)
                        or event.state == "disconnected"
                    )
                ),
            )
            if event.state != "disconnected":
                return event
            raise ProbeError(call_problem(event.code, event.text, self.callee))
        raise ProbeError(call_problem(408, "", self.callee))

    def _way(
        self,
        source: SoftPhone,
        sink: SoftPhone,
        speaker: Account,
        listener: Account,
        voice: int,
        path: Path,
        stream: protocol.Stream,
        answered: float,
    ) -> Direction:
        """What ``sink`` recorded of ``voice``, which ``source`` played."""
        recording = _first([event.recording for event in _media(sink)])
        playing = _first([event.playing for event in _media(source)])
        channels, rate = audio.read_wav(path)
        samples = channels[0]
        if recording is not None:
            # What comes late is judged by when it begins; what never comes, over the whole call.
            samples = samples[: max(math.ceil((answered - recording + self.seconds) * rate), 0)]
        heard = audio.judge(samples, rate, voice)
        return direction(
            speaker.username,
            listener.username,
            heard,
            stream,
            answered=answered,
            recording=recording or answered,
            playing=playing,
            file=str(path),
        )

    def _know(self, **found: object) -> None:
        self.trial = msgspec.structs.replace(self.trial, **found)


def _media(phone: SoftPhone) -> list[protocol.Media]:
    return [event for event in phone.events if isinstance(event, protocol.Media)]


def _first(times: list[float | None]) -> float | None:
    return next((time for time in times if time is not None), None)


async def _stream(phone: SoftPhone, call: int) -> protocol.Stream:
    reply = await phone.do(protocol.Statistics(call=call))
    assert reply.stream is not None  # noqa: S101  (the reply to Statistics has it)
    return reply.stream


def _codec(stream: protocol.Stream) -> str:
    return f"{stream.codec}/{stream.rate}" if stream.codec else ""


def _connection_problem(phone: SoftPhone) -> str:
    """What went wrong with the phone's connection; that others then gave up is not it."""
    problems = (event.problem for event in phone.events if isinstance(event, protocol.Connection))
    return next((text for text in problems if text and "PJ_ECANCELLED" not in text), "")

"""What a probe found, and what is wrong with it: values and pure functions."""

from __future__ import annotations

import msgspec

from pbxctl.probe.audio import PERIOD, Heard
from pbxctl.probe.protocol import Registered, Stream, Transport

LIKENESS = 0.8
"""G.711 and G.722 give 0.97 and more, GSM 0.9; silence and anything else 0."""
COVERAGE = 0.98
GAP = 200.0
"""Milliseconds: a jitter buffer that finds its depth takes up to 100."""
FIRST_AUDIO = 2.0


class ProbeError(Exception):
    """What keeps a phone from working with this PBX, for an operator."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A user as a phone is told of one. ``username`` is the extension."""

    username: str
    password: str
    domain: str

    @property
    def aor(self) -> str:
        return f"sip:{self.username}@{self.domain}"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where the PBX is. With ``verify`` its certificate must be for ``host`` and by ``ca_file``."""

    host: str
    port: int = 5060
    tls_port: int = 5061
    verify: bool = True
    ca_file: str = ""

    def uri(self, transport: Transport) -> str:
        """The SIP URI to send to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = self.tls_port if transport == "tls" else self.port
        return f"sip:{host}:{port};transport={transport}"


class Direction(msgspec.Struct, frozen=True, kw_only=True):
    """One way of a call's audio. Times in seconds, gaps in milliseconds.

    ``first_audio`` is from the answer on; ``delay`` from mouth to ear, modulo 3.6 s. ``lost`` of
    ``received`` packets and ``jitter`` are what RTCP counted.
    """

    speaker: str
    listener: str
    likeness: float
    coverage: float
    longest_gap: float
    level: float
    received: int
    lost: int
    jitter: float
    first_audio: float | None = None
    delay: float | None = None
    recording: str = ""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One transport. Times in seconds: of the slower phone to register, from dialling to ringing
    (post-dial delay), from the callee's answer to the caller's knowing. None: it never came to it.
    """

    transport: Transport
    register: float | None = None
    ringing: float | None = None
    answer: float | None = None
    codec: str = ""
    encrypted: bool = False
    directions: tuple[Direction, ...] = ()
    problems: tuple[str, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    host: str
    caller: str
    callee: str
    trials: tuple[Trial, ...]

    @property
    def ok(self) -> bool:
        """Every transport that was tried works."""
        return not any(trial.problems for trial in self.trials)


def registration_problem(answer: Registered, account: Account, where: str, connection: str) -> str:
    """Why a registration failed; ``connection`` is what its connection said, if it has one."""
    who = f"{account.aor} at {where}"
    match answer.code:
        case 401 | 407:
            return f"{who}: 401 twice: the password is wrong"
        case 403:
            return f"{who}: 403 {answer.text}: the user may not register, or this address is banned"
        case 404:
            return f"{who}: 404: the PBX knows no such user, or no such domain"
        case 408:
            return f"{who}: no answer: nothing listens there, or a firewall drops what is sent"
        case code if "certificate" in connection.lower() or "ECERTVERIF" in connection:
            return f"{who}: the server's certificate is not accepted: {connection}"
        case 502 | 503 if connection or "PJ" in answer.text or "refused" in answer.text.lower():
            return f"{who}: cannot connect: {connection or answer.text}"
        case code if code >= 300:
            return f"{who}: {code} {answer.text}"
        case _:
            return f"{who}: {connection or answer.text or 'no answer'}"


def call_problem(code: int, text: str, account: Account) -> str:
    """Why a call to an account was not answered."""
    who = f"call to {account.username}"
    match code:
        case 401 | 407:
            return f"{who}: {code} twice: the caller's password is wrong"
        case 403:
            return f"{who}: 403 {text}: the caller may not call there"
        case 404:
            return f"{who}: 404: the PBX knows no such user, or no such domain"
        case 408:
            return f"{who}: no answer from the PBX or from the phone called"
        case 480:
            return f"{who}: 480 {text}: it is not registered, or does not disturb"
        case 488 | 606:
            return f"{who}: {code} {text}: the two ends have no codec in common"
        case 503:
            return f"{who}: 503 {text}: the PBX is overloaded, or has no media server"
        case _:
            return f"{who}: {code} {text}"


def mouth_to_ear(heard: Heard, recording: float, playing: float) -> float | None:
    """Seconds, modulo `PERIOD`, from the clocks at which recording and playing began."""
    if heard.offset is None:
        return None
    delay = (recording + heard.offset - playing) % PERIOD
    return delay if delay < PERIOD - 0.1 else delay - PERIOD


def direction(
    speaker: str,
    listener: str,
    heard: Heard,
    stream: Stream,
    *,
    answered: float,
    recording: float,
    playing: float | None,
    file: str = "",
) -> Direction:
    """One way of a call, from what was recorded and what RTCP says. Times are of one clock."""
    first = None if heard.first is None else max(recording + heard.first - answered, 0.0)
    return Direction(
        speaker=speaker,
        listener=listener,
        likeness=heard.likeness,
        coverage=heard.coverage,
        longest_gap=heard.longest_gap,
        level=heard.level,
        received=stream.received,
        lost=stream.lost,
        jitter=stream.jitter,
        first_audio=first,
        delay=None if playing is None else mouth_to_ear(heard, recording, playing),
        recording=file,
    )


def audio_problems(directions: tuple[Direction, ...]) -> tuple[str, ...]:
    """What is wrong with the audio; a side that hears nothing is named."""
    deaf = [way for way in directions if way.coverage < 0.05]
    problems = list[str]()
    for way in deaf:
        prefix = "one-way audio" if len(deaf) < len(directions) else "no audio"
        why = (
            "packets came, but not what was sent"
            if way.received
            else "no RTP packet came: look for a firewall or a wrong media address"
        )
        problems.append(f"{prefix}: {way.listener} does not hear {way.speaker}: {why}")
    for way in directions:
        if way in deaf:
            continue
        name = f"audio from {way.speaker} to {way.listener}"
        if way.first_audio is not None and way.first_audio > FIRST_AUDIO:
            problems.append(f"{name}: it began {way.first_audio:.1f} s after the answer")
        if way.longest_gap > GAP:
            problems.append(f"{name}: a gap of {way.longest_gap:.0f} ms")
        elif way.coverage < COVERAGE:
            problems.append(f"{name}: {1 - way.coverage:.0%} of it is missing")
        if way.likeness < LIKENESS * way.coverage:
            problems.append(f"{name}: distorted, likeness {way.likeness:.2f} of 1")
    return tuple(problems)

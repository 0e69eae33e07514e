"""What passes between a soft phone's process and the one that owns it: JSON, one message a line.

Times are of CLOCK_MONOTONIC, which all processes of a machine share, in seconds.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Transport = Literal["udp", "tcp", "tls"]
Encryption = Literal["none", "optional", "mandatory"]
CallState = Literal["calling", "incoming", "early", "connecting", "confirmed", "disconnected"]


CODECS = ("PCMA/8000", "PCMU/8000", "G722/16000")
"""What every desk phone has, by PJSIP's names."""


class Start(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The first command. ``address`` is this phone's own. ``codecs`` are those to offer, in order;
    all others are off. ``verify``: a server's certificate has to be by one of ``ca_file``, and for
    the name or address that the phone calls it."""

    transport: Transport
    address: str = ""
    codecs: tuple[str, ...] = CODECS
    ca_file: str = ""
    verify: bool = True
    log_level: int = 3


class Register(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """``aor`` as ``sip:2001@acme.example``; ``server`` is the URI to send everything to."""

    aor: str
    server: str
    username: str
    password: str
    realm: str = "*"
    expires: int = 300
    encryption: Encryption = "none"
    prack: bool = False
    session_timers: bool = True


class Unregister(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    pass


class Dial(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """``send`` is a WAV to play in a loop, ``record`` one to write; both for the whole call."""

    uri: str
    send: str = ""
    record: str = ""
    headers: dict[str, str] = {}
    late_offer: bool = False


class Answer(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """``code`` below 200 rings, or is early media if it is 183; from 300 it refuses."""

    call: int
    code: int = 200
    send: str = ""
    record: str = ""
    reason: str = ""


class Hangup(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    call: int


class Hold(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    call: int


class Resume(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    call: int


class Transfer(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Blind, to ``uri``; or attended, to the far end of call ``other``."""

    call: int
    uri: str = ""
    other: int | None = None


class Dtmf(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """``info`` sends SIP INFO instead of RFC 4733 events."""

    call: int
    digits: str
    info: bool = False


class Statistics(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    call: int


class Message(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    to: str
    text: str


class Quit(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    pass


Command = (
    Start
    | Register
    | Unregister
    | Dial
    | Answer
    | Hangup
    | Hold
    | Resume
    | Transfer
    | Dtmf
    | Statistics
    | Message
    | Quit
)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    command: Command


class Stream(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """What RTP and RTCP say of a call; sent when it has ended. ``lost`` packets and ``jitter`` (s)
    as received; ``far_lost`` and ``far_jitter`` as the far end reported."""

    call: int
    time: float
    codec: str = ""
    rate: int = 0
    encrypted: bool = False
    sent: int = 0
    received: int = 0
    lost: int = 0
    jitter: float = 0.0
    far_lost: int = 0
    far_jitter: float = 0.0
    round_trip: float = 0.0


class Done(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The reply to a request that was carried out: the new ``call`` of a `Dial`, the ``stream`` of
    a `Statistics`."""

    re: int
    time: float
    call: int | None = None
    stream: Stream | None = None


class Refused(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The reply to a request that the library refused, in its words."""

    re: int
    time: float
    text: str


class Registered(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """A registration's answer; ``code`` 0 is none from the server, and ``text`` says why."""

    time: float
    code: int
    text: str
    expires: int


class Called(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """An INVITE came in. ``headers`` by name as received; the last of several of one name."""

    call: int
    time: float
    caller: str
    to: str
    headers: dict[str, str]


class Changed(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """A call changed its state. ``code`` and ``text`` are of the last answer.

    The far end's URI is in ``far``; ``call_id`` is SIP's.
    """

    call: int
    time: float
    state: CallState
    code: int
    text: str
    call_id: str
    far: str


class Media(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Audio of a call began, was held, or ended. ``recording`` is when its first sample was."""

    call: int
    time: float
    state: Literal["active", "held", "held-by-far-end", "none"]
    recording: float | None = None
    playing: float | None = None


class Recorded(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """A recording is complete; it comes shortly after the call has ended."""

    path: str
    time: float


class Digit(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    call: int
    time: float
    digit: str


class Transferred(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """How a transfer that this phone asked for goes; the last has ``final``."""

    call: int
    time: float
    code: int
    text: str
    final: bool


class Replaced(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The phone goes on in call ``by``, with the same audio: it was transferred, or a transfer
    took this call over."""

    call: int
    time: float
    by: int


class Received(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """A MESSAGE came in (``code`` 0), or one that was sent was answered."""

    time: float
    far: str
    text: str
    code: int = 0


class Connection(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """A TCP or TLS connection came up or went; ``problem`` is why, e.g. of the certificate."""

    time: float
    up: bool
    problem: str = ""


Event = (
    Registered
    | Called
    | Changed
    | Media
    | Recorded
    | Digit
    | Transferred
    | Replaced
    | Received
    | Connection
    | Stream
)
Reply = Done | Refused
Line = Event | Reply

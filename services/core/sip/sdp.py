"""Session descriptions for one audio stream: RFC 8866, offer and answer of RFC 3264. Pure.

`offer` and `answer` make them, `agreed` says what an offer and its answer come to. Streams that are
not wanted are refused by port 0, and stay where they are (RFC 3264 section 6).
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from services.core.sip.errors import MalformedError

Direction: TypeAlias = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
REVERSED: dict[str, Direction] = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}
PROFILES = ("RTP/AVP", "RTP/AVPF")
MAX_LINES = 2000


class NotAcceptableError(MalformedError):
    """The offer is well formed, and there is nothing in it that we can do: 488."""


class Codec(NamedTuple):
    """An encoding by its name in IANA's registry, upper case, and clock rate in Hz."""

    name: str
    rate: int = 8000
    channels: int = 1

    def __str__(self) -> str:
        tail = f"/{self.channels}" if self.channels > 1 else ""
        return f"{self.name}/{self.rate}{tail}"


PCMU, PCMA = Codec("PCMU"), Codec("PCMA")
L16, L16_NARROW = Codec("L16", 16000), Codec("L16", 8000)
EVENTS = "TELEPHONE-EVENT"
CODECS = (PCMA, PCMU, L16, L16_NARROW)
"""What is offered where nothing else is said; telephone-event is added for each clock rate."""
STATIC = {0: PCMU, 3: Codec("GSM"), 8: PCMA, 9: Codec("G722"), 10: Codec("L16", 44100, 2),
          11: Codec("L16", 44100), 18: Codec("G729")}  # fmt: skip
"""Payload types that need no rtpmap (RFC 3551 table 4)."""
_PREFERRED = {PCMU: 0, PCMA: 8}


class Audio(NamedTuple):
    """One audio section. ``codecs`` are its payload types in their order of preference.

    ``port`` is 0 where the stream is refused, ``address`` empty where there is none.
    """

    address: str
    port: int
    codecs: dict[int, Codec]
    direction: Direction
    ptime: int
    profile: str

    def payload(self, codec: Codec) -> int | None:
        """The payload type of ``codec``."""
        return next((number for number, known in self.codecs.items() if known == codec), None)


class Agreed(NamedTuple):
    """What both sides said yes to, as we see it.

    Packets go to ``address``:``port`` as payload type ``payload``; ``receive`` is the one that
    comes. ``events`` and ``events_receive`` are those of telephone-event (RFC 4733), None where
    there is none. ``direction`` is ours. ``ptime`` is in ms.
    """

    address: str
    port: int
    codec: Codec
    payload: int
    receive: int
    events: int | None
    events_receive: int | None
    direction: Direction
    ptime: int


def sections(text: str) -> tuple[list[str], list[list[str]]]:
    """The lines of the session, and those of each media section; `MalformedError` if no SDP."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != "v=0":
        raise MalformedError("session description does not begin with v=0")
    if len(lines) > MAX_LINES:
        raise MalformedError(f"session description of {len(lines)} lines")
    head: list[str] = []
    media: list[list[str]] = []
    for line in lines:
        if line[1:2] != "=":
            raise MalformedError(f"no line of a session description: {line[:60]!r}")
        if line[0] == "m":
            media.append([line])
        else:
            (media[-1] if media else head).append(line)
    return head, media


def audio(text: str) -> Audio | None:
    """The first audio section; None if there is none. `MalformedError` if it cannot be read."""
    head, media = sections(text)
    for section in media:
        if section[0][2:].split(" ", 1)[0] == "audio":
            return _read(head, section)
    return None


def _read(head: list[str], section: list[str]) -> Audio:
    fields = section[0][2:].split()
    port = fields[1].partition("/")[0] if len(fields) > 3 else ""
    if not (port.isascii() and port.isdecimal() and len(port) < 6 and int(port) < 65536):
        raise MalformedError(f"no media line: {section[0][:60]!r}")
    numbers = [int(f) for f in fields[3:] if f.isascii() and f.isdecimal() and len(f) < 4]
    maps: dict[int, Codec] = {}
    direction: Direction = "sendrecv"
    address, ptime = "", 20
    for line in (*head, *section):
        kind, value = line[0], line[2:]
        if kind == "c":
            address = value.split(" ")[-1].partition("/")[0]
        elif kind == "a":
            name, _, rest = value.partition(":")
            if name in DIRECTIONS:
                direction = name
            elif name == "ptime" and rest.strip().isdecimal() and len(rest.strip()) < 4:
                ptime = int(rest)
            elif name == "rtpmap":
                _rtpmap(rest, maps)
    codecs = {n: c for n in numbers if (c := maps.get(n) or STATIC.get(n)) is not None}
    return Audio(
        address=address,
        port=int(port),
        codecs=codecs,
        direction=direction,
        ptime=ptime if 0 < ptime <= 200 else 20,
        profile=fields[2],
    )


def _rtpmap(text: str, maps: dict[int, Codec]) -> None:
    number, _, encoding = text.strip().partition(" ")
    name, _, rest = encoding.strip().partition("/")
    rate, _, channels = rest.partition("/")
    if not (number.isdecimal() and rate.isdecimal() and len(number) < 4 and len(rate) < 7):
        return
    count = int(channels) if channels.isdecimal() and len(channels) < 3 else 1
    maps[int(number)] = Codec(name.upper(), int(rate), count or 1)


def offer(
    address: str,
    port: int,
    codecs: tuple[Codec, ...] = CODECS,
    direction: Direction = "sendrecv",
    ptime: int = 20,
) -> str:
    """A session description that offers ``codecs``, and telephone-event for each clock rate."""
    numbers: dict[int, Codec] = {}
    dynamic = iter(range(96, 128))
    for codec in codecs:
        numbers[_PREFERRED[codec] if codec in _PREFERRED else next(dynamic)] = codec
    for number, rate in zip((101, 102, 103), sorted({c.rate for c in codecs}), strict=False):
        free = number if number not in numbers else next(dynamic)
        numbers[free] = Codec(EVENTS, rate)
    head = _head(address)
    return "\r\n".join([*head, *_section(port, "RTP/AVP", numbers, direction, ptime)]) + "\r\n"


def answer(
    offered: str,
    address: str,
    port: int,
    codecs: tuple[Codec, ...] = CODECS,
    direction: Direction = "sendrecv",
) -> tuple[str, Agreed]:
    """The answer, and what is agreed by it: the offerer's first codec that is in ``codecs``.

    ``direction`` is what we would like; the answer says what the offer leaves of it.
    `NotAcceptableError` if the offer has nothing for us.
    """
    head, media = sections(offered)
    out: list[str] = []
    found: Agreed | None = None
    for section in media:
        fields = section[0][2:].split()
        if found is None and fields[0] == "audio":
            theirs = _read(head, section)
            found = _choose(theirs, codecs, direction)
            if found is not None:
                numbers = {found.payload: found.codec}
                if found.events is not None:
                    numbers[found.events] = Codec(EVENTS, found.codec.rate)
                ptime = theirs.ptime
                out += _section(port, theirs.profile, numbers, found.direction, ptime)
                continue
        if len(fields) < 4:
            raise MalformedError(f"no media line: {section[0][:60]!r}")
        out.append(f"m={fields[0]} 0 {' '.join(fields[2:])}")
    if found is None:
        raise NotAcceptableError("the offer has no audio that can be had here")
    return "\r\n".join([*_head(address), *out]) + "\r\n", found


def agreed(ours: str, theirs: str) -> Agreed | None:
    """What their answer to our offer comes to; None if they refused the audio."""
    own, other = audio(ours), audio(theirs)
    if own is None or other is None or not other.port:
        return None
    for number, codec in other.codecs.items():
        mine = own.payload(codec)
        if codec.name == EVENTS or mine is None:
            continue
        return Agreed(
            address=other.address,
            port=other.port,
            codec=codec,
            payload=number,
            receive=mine,
            events=other.payload(Codec(EVENTS, codec.rate)),
            events_receive=own.payload(Codec(EVENTS, codec.rate)),
            direction=_meet(own.direction, other.direction),
            ptime=other.ptime,
        )
    return None


def with_direction(text: str, direction: Direction) -> str:
    """The description with every stream's direction set: hold and resume (RFC 3264 section 8.4)."""
    head, media = sections(text)
    plain = {f"a={name}" for name in DIRECTIONS}
    out = [line for line in head if line not in plain]
    for section in media:
        out += [line for line in section if line not in plain]
        out.append(f"a={direction}")
    return "\r\n".join(out) + "\r\n"


def refusal(offered: str) -> str:
    """An answer that refuses every stream."""
    head, media = sections(offered)
    family = next((line for line in head if line.startswith("o=")), "o=- 0 0 IN IP4 0.0.0.0")
    out = ["v=0", family, "s=-", "t=0 0"]
    for section in media:
        fields = section[0][2:].split()
        out.append(f"m={fields[0]} 0 {' '.join(fields[2:])}")
    return "\r\n".join(out) + "\r\n"


def with_origin(text: str, session: int, version: int) -> str:
    """The description as one of ours: RFC 3264 section 8 wants one origin for a whole dialog."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if line.startswith("o="):
            fields = line.split(" ")
            where = fields[3:6] if len(fields) >= 6 else ["IN", "IP4", "0.0.0.0"]  # noqa: S104
            lines[at] = f"o=- {session} {version} {' '.join(where)}"
            break
        if line.startswith("m="):
            raise MalformedError("session description without o=")
    return "\r\n".join(lines) + "\r\n"


def without_origin(text: str) -> str:
    """What is compared to see whether anything was changed."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("o="))


def _head(address: str) -> list[str]:
    family = "IP6" if ":" in address else "IP4"
    return ["v=0", f"o=- 0 0 IN {family} {address}", "s=-", f"c=IN {family} {address}", "t=0 0"]


def _section(
    port: int, profile: str, numbers: dict[int, Codec], direction: str, ptime: int
) -> list[str]:
    lines = [f"m=audio {port} {profile} {' '.join(map(str, numbers))}"]
    for number, codec in numbers.items():
        if codec.name == EVENTS:
            lines.append(f"a=rtpmap:{number} telephone-event/{codec.rate}")
            lines.append(f"a=fmtp:{number} 0-16")
        else:
            lines.append(f"a=rtpmap:{number} {codec}")
    return [*lines, f"a=ptime:{ptime}", f"a={direction}"]


def _choose(theirs: Audio, codecs: tuple[Codec, ...], direction: Direction) -> Agreed | None:
    if not theirs.port or theirs.profile.upper() not in PROFILES:
        return None
    for number, codec in theirs.codecs.items():
        if codec not in codecs:
            continue
        events = theirs.payload(Codec(EVENTS, codec.rate))
        return Agreed(
            address=theirs.address,
            port=theirs.port,
            codec=codec,
            payload=number,
            receive=number,
            events=events,
            events_receive=events,
            direction=_meet(direction, theirs.direction),
            ptime=theirs.ptime,
        )
    return None


def _meet(ours: Direction, theirs: Direction) -> Direction:
    """Our direction, as far as theirs lets it (RFC 3264 section 6.1)."""
    allowed = REVERSED[theirs]
    send = ours in ("sendrecv", "sendonly") and allowed in ("sendrecv", "sendonly")
    receive = ours in ("sendrecv", "recvonly") and allowed in ("sendrecv", "recvonly")
    if send:
        return "sendrecv" if receive else "sendonly"
    return "recvonly" if receive else "inactive"

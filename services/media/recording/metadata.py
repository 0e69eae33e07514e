"""What rtpengine and the Call Manager say about a recording: pure.

rtpengine writes ``tmp/rtpengine-meta-<name>.tmp`` while it records and moves it to
``metadata/rtpengine-meta-<name>.txt`` at the end; ``<name>`` is the Call-ID, percent-encoded, a
hyphen, and 16 random hex digits.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlencode

import msgspec

from services.core.ng import Answer, dictionary, text
from services.media import sdp

_NAME = re.compile(r"rtpengine-meta-(?P<name>(?P<call>.+)-(?P<id>[0-9a-f]{16}))\.(tmp|txt)")
_BLOCK = re.compile(r"^SDP mode: (offer|answer)\n.*\n\n", re.MULTILINE)
_END = re.compile(r"^Timestamp terminated ms|^Timestamp started ms|^Label: ", re.MULTILINE)
_FINISHED = re.compile(r"^call end time: .*\n", re.MULTILINE)


class Name(msgspec.Struct, frozen=True):
    """``name`` is shared by capture and metadata; ``id`` is unique; ``call`` is the Call-ID."""

    name: str
    id: str
    call: str


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What the Call Manager knows of a call. ``tag`` is the caller's From tag."""

    tenant: str = ""
    caller: str = ""
    callee: str = ""
    tag: str = ""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """``sessions``: what rtpengine sent as ``offer`` or ``answer``, in order."""

    sessions: tuple[tuple[str, str], ...] = ()
    about: About = About()


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """An audio port of rtpengine's: channel 0 is the caller, 1 the callee.

    ``codecs`` maps payload types; ``codec`` stands for the dynamic ones that it does not name.
    """

    channel: int
    codecs: dict[int, str] = {}
    codec: str = ""


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """A side of the call as rtpengine answers to ``query``: its tag, and codecs by port."""

    tag: str
    ports: dict[int, str]


def read_name(filename: str) -> Name | None:
    """The recording that a metadata file belongs to; None for any other file."""
    found = _NAME.fullmatch(filename)
    if found is None:
        return None
    return Name(found["name"], found["id"], unquote(found["call"]))


def encode_about(about: About) -> str:
    """For rtpengine's ``metadata`` flag: a query string, which needs no quoting there."""
    return urlencode({k: v for k, v in msgspec.structs.asdict(about).items() if v})


def decode_about(encoded: str) -> About:
    """The reverse; whatever cannot be read is left empty."""
    found = parse_qs(encoded.strip(), keep_blank_values=False)
    return About(**{k: found[k][0] for k in About.__struct_fields__ if k in found})


def read(content: str) -> Metadata:
    """The metadata in a file's text, which may end anywhere if rtpengine was killed."""
    unix = content.replace("\r\n", "\n")
    sessions: list[tuple[str, str]] = []
    for block in _BLOCK.finditer(unix):
        end = _END.search(unix, block.end())
        sessions.append((block[1], unix[block.end() : end.start() if end else len(unix)].strip()))
    finished = _FINISHED.search(unix)
    about = decode_about(unix[finished.end() :]) if finished else About()
    return Metadata(sessions=tuple(sessions), about=about)


def legs(query: Answer) -> tuple[Leg, ...]:
    """The sides in rtpengine's answer to ``query``, first the one that was there first."""
    found: list[tuple[int, Leg]] = []
    for value in dictionary(query.get("tags")).values():
        side = dictionary(value)
        ports: dict[int, str] = {}
        medias = side.get("medias")
        for media in map(dictionary, medias if isinstance(medias, list) else []):
            streams = media.get("streams")
            if text(media.get("type")) != "audio" or not isinstance(streams, list):
                continue
            for stream in map(dictionary, streams):
                port = stream.get("local port")
                flags = stream.get("flags")
                if isinstance(port, int) and isinstance(flags, list) and b"RTP" in flags:
                    ports[port] = text(media.get("codec"))
        created = side.get("created")
        leg = Leg(tag=text(side.get("tag")), ports=ports)
        found.append((created if isinstance(created, int) else 0, leg))
    return tuple(leg for _, leg in sorted(found, key=lambda pair: pair[0]))


def streams(metadata: Metadata, sides: tuple[Leg, ...]) -> dict[int, Stream]:
    """The audio ports of a recorded call.

    Who talks to a port: rtpengine's word about tags decides where the caller's is known. Else the
    session descriptions: what rtpengine sends on as an offer names the port that the callee sends
    to. A port keeps its side when later offers go the other way. The codecs are those that
    rtpengine asked for in its description of that port (RFC 3264 section 5.1), the newest first.
    """
    channels: dict[int, int] = {}
    codec: dict[int, str] = {}
    codecs: dict[int, dict[int, str]] = {}
    caller = metadata.about.tag or (sides[0].tag if sides and not metadata.sessions else "")
    for side in sides:
        for port, name in side.ports.items():
            codec[port] = name
            if caller:
                channels[port] = 0 if side.tag == caller else 1
    for mode, description in metadata.sessions:
        media = sdp.audio(description)
        if media is None or media.port == 0:
            continue
        channels.setdefault(media.port, 1 if mode == "offer" else 0)
        codecs[media.port] = {**codecs.get(media.port, {}), **media.codecs}
    return {
        port: Stream(channel=channel, codecs=codecs.get(port, {}), codec=codec.get(port, ""))
        for port, channel in channels.items()
    }

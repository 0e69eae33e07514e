"""What rtpengine is told for each side of a call. Pure.

A side is one of three kinds: ``p`` RTP/AVP, as desk phones and carriers speak; ``s`` RTP/SAVP with
SDES keys (RFC 4568); ``w`` WebRTC: DTLS-SRTP, ICE, RTP and RTCP on one port (RFC 8827).
"""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import urlencode

Kind = Literal["p", "s", "w"]

_BASE = "replace-origin replace-session-connection"
# rtpengine 10.5 offers every suite it knows: one that encrypts nothing, and one that no phone has.
_WEAK = ("NULL_HMAC_SHA1_80", "NULL_HMAC_SHA1_32", "F8_128_HMAC_SHA1_80", "F8_128_HMAC_SHA1_32")
_SUITES = " ".join(f"SDES-no-{suite}" for suite in _WEAK)
_OFFER: dict[Kind, str] = {
    "p": f"{_BASE} RTP/AVP ICE=remove DTLS=off rtcp-mux-demux",
    "s": f"{_BASE} RTP/SAVP ICE=remove DTLS=off rtcp-mux-demux {_SUITES}",
    "w": f"{_BASE} UDP/TLS/RTP/SAVPF ICE=force SDES-off rtcp-mux-offer generate-mid",
}
# An answer goes out in the protocol that was offered; rtpengine remembers which.
_ANSWER: dict[Kind, str] = {
    "p": f"{_BASE} ICE=remove",
    "s": f"{_BASE} ICE=remove",
    "w": f"{_BASE} ICE=force rtcp-mux-accept",
}
_RTPMAP = re.compile(r"^a=rtpmap:\d+ ([A-Za-z0-9-]+)/", re.MULTILINE)
_NUMBERED = re.compile(r"^a=rtpmap:(\d+) ([A-Za-z0-9-]+)/", re.MULTILINE)
_MID = re.compile(r"^a=mid:(\S{1,64})", re.MULTILINE)
_AUDIO = re.compile(r"^m=audio \d+(?:/\d+)? (\S+)((?: \d+)*)", re.MULTILINE)
_STREAM = re.compile(r"^m=(\S+) \d+(?:/\d+)? (\S+) ([^\r\n]*)", re.MULTILINE)
_STATIC = {"0": "PCMU", "8": "PCMA", "9": "G722", "18": "G729"}
COMMON = ("PCMA", "PCMU", "G722", "opus")
TRANSCODED, RECORDED = "t", "r"
"""Among a call's kinds as its event tells them: what its media server does beside."""


def kind_of_sdp(sdp: str) -> Kind:
    """The kind of a side by what it has written."""
    audio = _AUDIO.search(sdp)
    protocol = audio[1] if audio else "RTP/AVP"
    if "TLS" in protocol or ("SAVP" in protocol and "\na=fingerprint:" in sdp):
        return "w"
    return "s" if "SAVP" in protocol else "p"


def kind_of_uri(uri: str, destination: str) -> Kind:
    """The kind that a side will want, by the transport of its URI and of where it is reached."""
    where = f"{uri} {destination}".lower()
    if "transport=ws" in where:
        return "w"
    return "s" if "transport=tls" in where or where.startswith("sips:") else "p"


def audio_codecs(sdp: str) -> frozenset[str]:
    """Names of the audio codecs that an SDP has, in lower case."""
    names = {name.lower() for name in _RTPMAP.findall(sdp)}
    audio = _AUDIO.search(sdp)
    if audio:
        names |= {_STATIC[n].lower() for n in audio[2].split() if n in _STATIC}
    return frozenset(names)


def transcoding(codecs: frozenset[str], *, everything: bool) -> str:
    """Codecs to add to an offer. Every side speaks G.711, so one that offers it needs no other's.

    ``everything``: the other side has already refused the offer as it was.
    """
    has_g711 = "pcma" in codecs or "pcmu" in codecs
    wanted = COMMON if everything else (() if has_g711 else ("PCMA", "PCMU"))
    return "".join(f" transcode-{name}" for name in wanted if name.lower() not in codecs)


def is_transcoded(offer: object, answer: object) -> bool:
    """Whether an answer speaks, before all, a codec that was not in the offer as it came."""
    if not isinstance(offer, str) or not isinstance(answer, str):
        return False
    audio = _AUDIO.search(answer)
    formats = audio[2].split() if audio else []
    if not formats:
        return False
    names = {number: name.lower() for number, name in _NUMBERED.findall(answer)}
    spoken = names.get(formats[0], _STATIC.get(formats[0], "")).lower()
    offered = audio_codecs(offer)
    return bool(spoken and offered) and spoken not in offered


def offer(to: Kind, sdp: str, *, everything: bool = False, record: str = "") -> str:
    """Flags of an offer that goes on to a side of kind ``to``."""
    codecs = audio_codecs(sdp)
    added = transcoding(codecs, everything=everything) if codecs else ""
    return _OFFER[to] + added + record


def answer(to: Kind, record: str = "") -> str:
    """Flags of an answer that goes back to a side of kind ``to``."""
    return _ANSWER[to] + record


def reoffer(to: Kind, sdp: str, *, everything: bool = False) -> str:
    """Flags of an offer inside a dialog: hold, resume, another address.

    A call may be one between A-law and µ-law alone, and has to stay possible.
    """
    codecs = audio_codecs(sdp)
    flags = offer(to, sdp, everything=everything)
    missing = (f" transcode-{name}" for name in ("PCMA", "PCMU") if name.lower() not in codecs)
    return flags + "".join(flag for flag in missing if codecs and flag not in flags)


def parameters(flags: str) -> dict[str, Any]:
    """Flags as rtpengine's ng protocol has them (README, "offer Message")."""
    found: dict[str, Any] = {"replace": [], "rtcp-mux": [], "flags": []}
    for flag in flags.split():
        name, equals, value = flag.partition("=")
        if equals:
            found[name.replace("record-call", "record call")] = value
        elif flag.startswith("replace-"):
            found["replace"].append(flag.removeprefix("replace-"))
        elif flag.startswith("rtcp-mux-"):
            found["rtcp-mux"].append(flag.removeprefix("rtcp-mux-"))
        elif "RTP/" in flag:
            found["transport-protocol"] = flag
        else:
            found["flags"].append(flag)
    return found


def media_id(sdp: str) -> str:
    """What a browser calls its first stream (RFC 5888), "" where it has no name."""
    found = _MID.search(sdp)
    return found[1] if found else ""


def with_media_id(sdp: str, mid: str) -> str:
    """The same, its first stream with this name if it has none."""
    if not mid or _MID.search(sdp):
        return sdp
    head, stream, rest = sdp.partition("m=")
    this, following, others = rest.partition("\nm=")
    return f"{head}{stream}{this.rstrip()}\r\na=mid:{mid}\r\n{following.lstrip()}{others}"


def without_media(sdp: str) -> str:
    """SDP that takes or offers none of the streams of ``sdp`` (RFC 3264 section 6: port 0)."""
    streams = "".join(
        f"m={kind} 0 {protocol} {formats}\r\n" for kind, protocol, formats in _STREAM.findall(sdp)
    )
    return f"v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n{streams}"


def inactive(sdp: str) -> str:
    """An answer to an offer that takes its streams and lets nothing be sent (RFC 3264 6.1)."""
    streams = "".join(
        f"m={kind} 9 {protocol} {formats.split()[0]}\r\na=inactive\r\n"
        for kind, protocol, formats in _STREAM.findall(sdp)
    )
    return f"v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n{streams}"


def recording(tag: str, tenant: str, caller: str, callee: str) -> str:
    """Flags that start a recording, with what its index is to know; ``tag`` is the caller's."""
    about = {"tenant": tenant, "caller": caller, "callee": callee, "tag": tag}
    return f" record-call=on metadata={urlencode({k: v for k, v in about.items() if v})}"

"""As much of SDP (RFC 8866) as a media server needs beside rtpengine: audio ports and payloads."""

from __future__ import annotations

import msgspec

STATIC = {0: "PCMU/8000", 3: "GSM/8000", 8: "PCMA/8000", 9: "G722/8000", 18: "G729/8000"}
"""Payload types that need no rtpmap (RFC 3551 table 4)."""


class Audio(msgspec.Struct, frozen=True, kw_only=True):
    """One audio media section. ``codecs`` maps payload types to ``name/clock[/channels]``."""

    address: str
    port: int
    payloads: tuple[int, ...]
    codecs: dict[int, str]
    direction: str = "sendrecv"
    ptime: int = 20


def audio(text: str) -> Audio | None:
    """The first audio section of a session description; None if it has none that can be read.

    What is not understood is passed over, as RFC 8866 section 5 asks.
    """
    session_address = ""
    found: dict[str, str] = {}
    payloads: tuple[int, ...] = ()
    codecs: dict[int, str] = {}
    port = -1
    inside: str | None = None
    for line in text.splitlines():
        kind, equals, value = line.strip().partition("=")
        if not equals:
            continue
        if kind == "m":
            if port >= 0:
                break
            inside = value.split(" ", 1)[0]
            if inside == "audio":
                port, payloads = _media(value)
        elif kind == "c" and inside in (None, "audio"):
            address = value.split(" ")[-1].split("/")[0]
            if inside is None:
                session_address = address
            else:
                found["address"] = address
        elif kind == "a" and inside in (None, "audio"):
            _attribute(value, found, codecs)
    if port < 0:
        return None
    static = {payload: STATIC[payload] for payload in payloads if payload in STATIC}
    ptime = found.get("ptime", "")
    return Audio(
        address=found.get("address", session_address),
        port=port,
        payloads=payloads,
        codecs={**static, **{k: v for k, v in codecs.items() if k in payloads}},
        direction=found.get("direction", "sendrecv"),
        ptime=int(ptime) if ptime.isdecimal() and 0 < int(ptime) <= 200 else 20,
    )


def _media(value: str) -> tuple[int, tuple[int, ...]]:
    fields = value.split()
    port = fields[1].split("/")[0] if len(fields) > 3 else ""
    if not (port.isascii() and port.isdecimal() and int(port) <= 65535):
        return -1, ()
    return int(port), tuple(int(f) for f in fields[3:] if f.isascii() and f.isdecimal())


def _attribute(value: str, found: dict[str, str], codecs: dict[int, str]) -> None:
    name, _, rest = value.partition(":")
    if name in ("sendrecv", "sendonly", "recvonly", "inactive"):
        found["direction"] = name
    elif name == "ptime":
        found["ptime"] = rest.strip()
    elif name == "rtpmap":
        payload, _, codec = rest.strip().partition(" ")
        if payload.isascii() and payload.isdecimal() and int(payload) < 128:
            codecs[int(payload)] = codec.strip()


def describe(
    *, address: str, port: int, codecs: dict[int, str], direction: str = "sendrecv"
) -> str:
    """A session description with one audio section over RTP/AVP."""
    family = "IP6" if ":" in address else "IP4"
    payloads = " ".join(str(payload) for payload in codecs)
    lines = [
        "v=0",
        f"o=- {port} 1 IN {family} {address}",
        "s=-",
        f"c=IN {family} {address}",
        "t=0 0",
        f"m=audio {port} RTP/AVP {payloads}",
        *(f"a=rtpmap:{payload} {codec}" for payload, codec in codecs.items()),
        "a=ptime:20",
        f"a={direction}",
    ]
    return "\r\n".join(lines) + "\r\n"

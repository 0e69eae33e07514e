"""rtpengine 10.5's own description of a session (daemon/redis.c, redis_encode_json): pure.

A JSON object of objects and lists; every value is a string, percent-encoded. What is not touched
here is passed on as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

import msgspec

INTERFACE = "at-"
"""Before a home's name: the logical interface of its address, the same on every media server."""

_INDICES = ("in_srtp_index", "in_srtcp_index", "out_srtp_index", "out_srtcp_index")


def interface(home: str) -> str:
    """The name of a home's logical interface."""
    return INTERFACE + home


def home_of(document: bytes) -> str:
    """The home that a session's sockets are on; empty if it has none or cannot be read."""
    first = _object(_parse(document).get("sfd-0"))
    name = unquote(str(first.get("logical_intf", "")))
    return name.removeprefix(INTERFACE) if name.startswith(INTERFACE) else ""


def ports_of(document: bytes) -> tuple[frozenset[int], float]:
    """The ports of ours that a session has, and the Unix time at which it was set up; 0 if that
    cannot be read."""
    session = _parse(document)
    sockets = (_object(value) for key, value in session.items() if key.startswith("sfd-"))
    ports = frozenset(_number(each, "localport") for each in sockets)
    return ports, _number(_object(session.get("json")), "created") / 1e6


def recording_of(document: bytes) -> str | None:
    """The metadata that a session is recorded with; None while it is not recorded."""
    call = _object(_parse(document).get("json"))
    if "recording_meta_prefix" not in call:
        return None
    return unquote(str(call.get("recording_metadata", "")))


def with_recording(document: bytes, *, recorded: bool) -> bytes:
    """The same session, recorded or not: rtpengine does not write what a command has changed."""
    session = _parse(document)
    call = _object(session.get("json"))
    if not call or recorded == ("recording_meta_prefix" in call):
        return document
    if recorded:
        call["recording_meta_prefix"] = "-"
    else:
        del call["recording_meta_prefix"]
    return msgspec.json.encode(session)


def encrypted(document: bytes) -> bool:
    """Whether a session has SRTP on either side."""
    return b'crypto_suite"' in document


def advanced(document: bytes, received: Mapping[int, tuple[int, int]]) -> bytes:
    """The same session some time later: its packet indices as they must be by now.

    ``received`` is SSRC and packets received, by the port of ours that they came to. rtpengine
    writes a session when something is signalled, and an index that is more than 32,768 packets
    behind means another rollover counter.
    """
    session = _parse(document)
    gained: dict[str, int] = {}
    for stream in (value for key, value in session.items() if key.startswith("stream-")):
        socket = _object(session.get(f"sfd-{_object(stream).get('sfd', '')}"))
        ssrc, packets = received.get(_number(socket, "localport"), (0, 0))
        more = packets - _number(stream, "stats-packets")
        if ssrc and more > 0:
            gained[str(ssrc)] = more
            stream["stats-packets"] = str(packets)
    if not gained:
        return document
    for table in (value for key, value in session.items() if key.startswith("ssrc_table-")):
        for entry in table:
            more = gained.get(str(entry.get("ssrc", "")), 0)
            for name in ("in_srtp_index", "out_srtp_index"):
                # 0: this tag does not know the stream in this direction.
                if _number(entry, name):
                    entry[name] = str(_number(entry, name) + more)
    return msgspec.json.encode(session)


def rendered(document: bytes, database: int) -> bytes:
    """The document as rtpengine is to restore it from ``database``.

    rtpengine 10.5.3 writes the table of SRTP packet indices (RFC 3711 section 3.3.1) once for each
    tag, as ``ssrc_table-0`` and so on, and reads it as ``ssrc_table``: it is written that way too,
    or every SRTP session older than 65,536 packets would lose its rollover counter.

    A recording is not restored: every server that has a copy would begin a file of its own. Who
    serves the session starts it again.
    """
    session = _parse(document)
    call = _object(session.get("json"))
    if not call:
        return document
    call["redis_hosted_db"] = str(database)
    call.pop("recording_meta_prefix", None)
    tables = [value for key, value in session.items() if key.startswith("ssrc_table-")]
    session["ssrc_table"] = _united(tables)
    return msgspec.json.encode(session)


def _united(tables: list[Any]) -> list[dict[str, Any]]:
    """One entry for each SSRC. A tag knows a stream that it receives by its incoming indices, one
    that it sends by its outgoing ones, and the others of the same stream as 0."""
    found: dict[str, dict[str, Any]] = {}
    for table in tables:
        for entry in cast("list[dict[str, Any]]", table if isinstance(table, list) else []):
            ssrc = str(entry.get("ssrc", ""))
            known = found.setdefault(ssrc, dict(entry))
            for name in _INDICES:
                known[name] = str(max(_number(known, name), _number(entry, name)))
    return list(found.values())


def _number(entry: Mapping[str, Any], name: str) -> int:
    text = str(entry.get(name, "0"))
    return int(text) if text.isdecimal() else 0


def _parse(document: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(document)
    except msgspec.DecodeError:
        return {}
    return _object(value)


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}

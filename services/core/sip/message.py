"""Messages read and written: RFC 3261 sections 7, 8.1.1, 8.2.6 and 20. Pure.

Bytes that are no UTF-8 are kept as they are (surrogateescape), so that what is copied into an
answer is what came. Strict where a transaction or dialog hangs on it, liberal in the rest, which is
the caller's of a field to judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TypeAlias

from services.core.sip.errors import MalformedError
from services.core.sip.uri import QUOTED, TOKEN, parse_address, parse_parameters, split_list

Fields: TypeAlias = Iterable[tuple[str, str]]
COMPACT = {
    "a": "accept-contact", "b": "referred-by", "c": "content-type", "d": "request-disposition",
    "e": "content-encoding", "f": "from", "i": "call-id", "j": "reject-contact", "k": "supported",
    "l": "content-length", "m": "contact", "n": "identity-info", "o": "event", "r": "refer-to",
    "s": "subject", "t": "to", "u": "allow-events", "v": "via", "x": "session-expires",
    "y": "identity",
}  # fmt: skip
"""Compact forms, IANA's registry of SIP header fields."""
_NAMES = {"call-id": "Call-ID", "cseq": "CSeq", "rack": "RAck", "rseq": "RSeq", "min-se": "Min-SE",
          "www-authenticate": "WWW-Authenticate", "mime-version": "MIME-Version"}  # fmt: skip
_ONCE = frozenset(("from", "to", "call-id", "cseq", "max-forwards", "content-length"))
MAX_FIELDS = 256
"""Header fields past this are an attack: a request that has more gets 400."""
_REQUEST = re.compile(rf"({TOKEN}) ([^\s<>]+) SIP/2\.0[ \t]*", re.IGNORECASE)
_ALMOST = re.compile(rf"({TOKEN})[ \t]+(\S.*?)[ \t]+SIP/(\d+\.\d+)[ \t]*", re.IGNORECASE)
_STATUS = re.compile(r"SIP/2\.0 ([1-6]\d\d)(?: (.*))?", re.IGNORECASE)
_CSEQ = re.compile(rf"(\d{{1,10}})[ \t]+({TOKEN})")
_VIA = re.compile(
    rf"SIP\s*/\s*2\.0\s*/\s*({TOKEN})\s+(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?:\s*:\s*(\d{{1,5}}))?"
    rf"\s*((?:;(?:{QUOTED}|[^\",])*)?)",
    re.IGNORECASE,
)
_CALL_ID = re.compile(r"[!-~]+")
"""Wider than the grammar; what is not in it would stand in logs, URLs and signatures."""
_TOKEN = re.compile(TOKEN)
_TAG = re.compile(rf";\s*tag\s*=\s*({TOKEN})\s*(?=;|$)", re.IGNORECASE)
_RPORT = re.compile(r";\s*rport\s*(?==?\s*(?:;|$))=?", re.IGNORECASE)
REASONS = {
    100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued",
    183: "Session Progress", 200: "OK", 202: "Accepted", 204: "No Notification",
    300: "Multiple Choices", 301: "Moved Permanently", 302: "Moved Temporarily",
    400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable",
    407: "Proxy Authentication Required", 408: "Request Timeout", 410: "Gone",
    413: "Request Entity Too Large", 415: "Unsupported Media Type",
    416: "Unsupported URI Scheme", 420: "Bad Extension", 421: "Extension Required",
    422: "Session Interval Too Small", 423: "Interval Too Brief",
    480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist",
    482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete", 486: "Busy Here",
    487: "Request Terminated", 488: "Not Acceptable Here", 489: "Bad Event",
    491: "Request Pending", 500: "Server Internal Error", 501: "Not Implemented",
    503: "Service Unavailable", 504: "Server Time-out", 505: "Version Not Supported",
    513: "Message Too Large", 600: "Busy Everywhere", 603: "Decline",
    604: "Does Not Exist Anywhere", 606: "Not Acceptable",
}  # fmt: skip
"""Default reason phrases, IANA's registry of SIP response codes."""


_NOTHING: frozenset[str] = frozenset()


@lru_cache(1024)
def _tokens(text: str) -> frozenset[str]:
    """Every phone of a kind says the same, so it is read once."""
    return frozenset(token for part in text.lower().split(",") if (token := part.strip()))


class Headers:
    """Header fields by name, whatever its case; a name may have several values, kept in order."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Fields = ()) -> None:
        self._fields: dict[str, list[str]] = {}
        for name, value in fields:
            self.add(name, value)

    def add(self, name: str, value: str) -> None:
        """One more value; what could end the line is taken out of it."""
        if "\r" in value or "\n" in value:
            value = " ".join(value.split())
        self._fields.setdefault(name.lower(), []).append(value)

    def set(self, name: str, value: str) -> None:
        """The only value."""
        self._fields.pop(name.lower(), None)
        self.add(name, value)

    def get(self, name: str, default: str = "") -> str:
        """The first value as written."""
        values = self._fields.get(name.lower())
        return values[0] if values else default

    def all(self, name: str) -> list[str]:
        """Every line's value, as written."""
        return self._fields.get(name.lower(), [])

    def values(self, name: str) -> list[str]:
        """Every value, those in one line parted at commas."""
        return [value for line in self.all(name) for value in split_list(line)]

    def tokens(self, name: str) -> frozenset[str]:
        """Every value in lower case, for fields such as Supported and Allow."""
        lines = self._fields.get(name.lower())
        if not lines:
            return _NOTHING
        return _tokens(lines[0] if len(lines) == 1 else ",".join(lines))

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._fields

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for name, values in self._fields.items():
            written = _NAMES.get(name) or name.title()
            for value in values:
                yield written, value


class Via:
    """The topmost Via: where a response goes, and which transaction it is of."""

    __slots__ = ("branch", "host", "parameters", "port", "text", "transport")

    def __init__(self, text: str) -> None:
        if "," in text:
            text = (split_list(text) or [""])[0]
        found = _VIA.fullmatch(text)
        if found is None:
            raise MalformedError(f"no Via: {text[:80]!r}")
        self.text = text
        self.transport = found[1].lower()
        self.host = found[2].strip("[]").lower()
        self.port = int(found[3] or 0)
        self.parameters = parse_parameters(found[4])
        self.branch = self.parameters.get("branch", "")
        if self.port > 65535:
            raise MalformedError(f"no port: {self.port}")


class Message:
    """What requests and responses have in common. ``cseq`` is the number, ``method`` its method."""

    __slots__ = ("body", "call_id", "cseq", "from_tag", "headers", "method", "to_tag", "via")

    headers: Headers
    body: bytes
    method: str
    cseq: int
    call_id: str
    from_tag: str
    to_tag: str
    via: Via

    def content_type(self) -> str:
        """Lower case, without parameters; empty if there is no body."""
        if not self.body:
            return ""
        return self.headers.get("content-type").partition(";")[0].strip().lower()

    @property
    def sdp(self) -> str | None:
        """The session description in the body, also as a part of a MIME body; None without one."""
        if not self.body:
            return None
        kind = self.content_type()
        if kind == "application/sdp":
            return self.body.decode("utf-8", "replace")
        return _sdp_part(self) if kind.startswith("multipart/") else None


class Request(Message):
    """``problem`` is the final response that it deserves, if it cannot be served."""

    __slots__ = ("problem", "uri")

    uri: str
    problem: tuple[int, str] | None


class Response(Message):
    """``status`` 100 to 699."""

    __slots__ = ("reason", "status")

    status: int
    reason: str


def _sdp_part(message: Message) -> str | None:
    found = re.search(r';\s*boundary\s*=\s*("[^"]*"|[^;\s]+)', message.headers.get("content-type"))
    if found is None:
        return None
    boundary = b"--" + found[1].strip('"').encode("utf-8", "surrogateescape")
    for part in message.body.split(boundary)[1:]:
        head, _, body = part.partition(b"\r\n\r\n")
        if b"application/sdp" in head.lower():
            return body.removesuffix(b"\r\n").decode("utf-8", "replace")
    return None


def parse(data: bytes) -> Request | Response | None:
    """The message; None if it is none, or a response or ACK that nothing can be done with."""
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator and not data.endswith(b"\r\n"):
        return None  # cut off; without its last empty line only it can be read
    text = head.decode("utf-8", "surrogateescape")
    lines = text.strip("\r\n").split("\r\n")
    headers = Headers()
    if not _read_fields(lines, headers):
        return None
    if lines[0][:4].upper() == "SIP/":
        return _response(lines[0], headers, body)
    return _request(lines[0], len(lines), headers, body)


def _read_fields(lines: list[str], headers: Headers) -> bool:
    fields = headers._fields  # pyright: ignore[reportPrivateUsage]
    if len(lines) > 4 * MAX_FIELDS:
        return False
    last: list[str] = []
    for line in lines[1:]:
        if line[:1] in (" ", "\t"):
            if last:
                last[-1] = f"{last[-1]} {line.strip()}".lstrip()
            continue
        name, colon, value = line.partition(":")
        if not colon:
            return False
        key = name.strip().lower()
        last = fields.setdefault(COMPACT.get(key, key), [])
        last.append(value.strip())
    return "via" in fields


def _tag(value: str) -> str:
    if not value:
        raise MalformedError("address missing")
    start = value.rfind(">")
    if start < 0 or '"' in value:
        return _address_tag(value)
    found = _TAG.search(value, start)
    if found is None and ";" in value[start:]:
        return _address_tag(value)
    return found[1] if found else ""


def _address_tag(value: str) -> str:
    tag = parse_address(value).tag
    if tag and not _TOKEN.fullmatch(tag):
        raise MalformedError(f"no tag: {tag[:80]!r}")
    return tag


def _common(message: Message, headers: Headers, body: bytes) -> str:
    """Fill in; what is wrong, empty if nothing is. `MalformedError` if there is no Via."""
    message.headers = headers
    message.via = Via(headers.get("via"))
    message.call_id = headers.get("call-id")
    message.body, message.cseq, message.method = body, 0, ""
    message.from_tag = message.to_tag = ""
    try:
        message.from_tag = _tag(headers.get("from"))
        message.to_tag = _tag(headers.get("to"))
    except MalformedError:
        return "Bad From Or To"
    found = _CSEQ.fullmatch(headers.get("cseq"))
    if found is None or int(found[1]) >= 1 << 31:
        return "Bad CSeq"
    message.cseq, message.method = int(found[1]), found[2]
    if not _CALL_ID.fullmatch(message.call_id):
        return "Bad Call-ID" if message.call_id else "Missing Call-ID"
    length = headers.get("content-length")
    if length:
        if not (length.isascii() and length.isdecimal()) or len(length) > 9:
            return "Bad Content-Length"
        if int(length) > len(body):
            return "Content-Length Beyond Message"
        message.body = body[: int(length)]
    for name in _ONCE:
        if len(headers.all(name)) > 1:
            return f"Repeated {name.title()}"
    return ""


def _response(line: str, headers: Headers, body: bytes) -> Response | None:
    found = _STATUS.fullmatch(line)
    response = Response()
    try:
        if found is None or _common(response, headers, body):
            return None
    except MalformedError:
        return None
    response.status, response.reason = int(found[1]), found[2] or ""
    return response


def _request(line: str, fields: int, headers: Headers, body: bytes) -> Request | None:
    found = _REQUEST.fullmatch(line)
    almost = None if found else _ALMOST.fullmatch(line)
    if found is None and almost is None:
        return None
    request = Request()
    try:
        wrong = _common(request, headers, body)
    except MalformedError:
        return None
    request.problem = None
    if found is not None:
        method, request.uri = found[1], found[2]
    else:
        assert almost is not None  # noqa: S101
        method, request.uri = almost[1], almost[2]
        wrong = "Bad Request-Line"
        if almost[3] != "2.0":
            request.problem = (505, REASONS[505])
    if not wrong and request.method != method:
        wrong = "CSeq Of Another Method"
    if not wrong and fields > MAX_FIELDS:
        wrong = "Too Many Header Fields"
    request.method = method
    if wrong and request.problem is None:
        request.problem = (400, f"Bad Request ({wrong})")
    return request


def compose(first: str, fields: Fields, body: bytes = b"") -> bytes:
    """A message's bytes; Content-Length is added."""
    lines = [first]
    for name, value in fields:
        if "\r" in value or "\n" in value:
            value = " ".join(value.split())
        lines.append(f"{name}: {value}")
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + body


def compose_response(
    request: Request,
    status: int,
    source: tuple[str, int],
    *,
    tag: str = "",
    reason: str = "",
    fields: Fields = (),
    body: bytes = b"",
) -> bytes:
    """The response to ``request`` (RFC 3261 section 8.2.6), which came from ``source``.

    ``tag`` is put into To where it has none. ``received`` and ``rport`` are filled in (RFC 3581).
    """
    headers = request.headers
    via = received(request.via, source)
    vias = headers.all("via")
    first = vias[0]
    own = request.via.text
    rest = split_list(first)[1:] if "," in first else []
    out: list[tuple[str, str]] = [("Via", via if own == first else ", ".join([via, *rest]))]
    out += [("Via", value) for value in vias[1:]]
    if 100 < status < 300:
        out += [("Record-Route", value) for value in headers.all("record-route")]
    to = headers.get("to")
    if tag and not request.to_tag:
        to = f"{to};tag={tag}"
    out += [
        ("From", headers.get("from")),
        ("To", to),
        ("Call-ID", request.call_id),
        ("CSeq", headers.get("cseq")),
        *fields,
    ]
    return compose(f"SIP/2.0 {status} {reason or REASONS.get(status, 'Unknown')}", out, body)


def received(via: Via, source: tuple[str, int]) -> str:
    """The Via with what RFC 3261 section 18.2.1 and RFC 3581 section 4 have the server add."""
    text = via.text
    host, port = source
    if "rport" in via.parameters and not via.parameters["rport"]:
        text = re.sub(
            r";\s*rport\s*(?==?\s*(?:;|$))=?", f";rport={port}", text, count=1, flags=re.IGNORECASE
        )
        return f"{text};received={host}"
    return f"{text};received={host}" if via.host != host else text

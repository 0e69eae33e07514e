"""URIs and addresses of header fields: RFC 3261 sections 19.1 and 20.10. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from services.core.sip.errors import MalformedError

TOKEN = r"[A-Za-z0-9.!%*_+`'~-]+"  # noqa: S105 - a grammar's name, RFC 3261 section 25.1
QUOTED = r'"(?:[^"\\]|\\.)*"'
_URI = re.compile(
    r"(sips?):(?:([^@;?<>\s\"]*(?:;[^@<>\s\"]*)?)@)?"
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?((?:;[^?<>\s\"]*)?)(?:\?([^<>\s\"]*))?",
    re.IGNORECASE,
)
_USER_TAIL = re.compile(r"(sips?):([^@<>\s\"]*)@(.*)", re.IGNORECASE)
_ADDRESS = re.compile(rf"\s*(?:({QUOTED})|([^\"<]*?))\s*<([^<>]*)>\s*", re.DOTALL)
_PARAMETER = re.compile(rf"\s*;\s*({TOKEN})\s*(?:=\s*({QUOTED}|[^;,\s\"]*)\s*)?", re.DOTALL)


class Uri(NamedTuple):
    """A SIP or SIPS URI. ``user`` and ``password`` are as written, ``host`` without brackets.

    ``port`` is 0 and ``user`` empty where there is none. ``parameters`` have lower-case names.
    """

    scheme: str
    user: str
    host: str
    port: int
    parameters: dict[str, str]
    headers: str = ""

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}:{user}{host_port(self.host, self.port)}" + _tail(self)

    @property
    def number(self) -> str:
        """The user part that was meant: without its parameters and password, unescaped."""
        return unquote(self.user.partition(";")[0].partition(":")[0], errors="replace")


def _tail(uri: Uri) -> str:
    text = "".join(f";{k}={v}" if v else f";{k}" for k, v in uri.parameters.items())
    return f"{text}?{uri.headers}" if uri.headers else text


class Address(NamedTuple):
    """A display name (unquoted), a URI as written, and the field's parameters."""

    name: str
    uri: str
    parameters: dict[str, str]

    def __str__(self) -> str:
        quoted = self.name.replace("\\", "\\\\").replace('"', '\\"')
        name = f'"{quoted}" ' if self.name else ""
        tail = "".join(f";{k}={v}" if v else f";{k}" for k, v in self.parameters.items())
        return f"{name}<{self.uri}>{tail}"

    @property
    def tag(self) -> str:
        """Empty if it has none."""
        return self.parameters.get("tag", "")


def host_port(host: str, port: int) -> str:
    """As it stands in a URI or a Via; ``port`` 0 means none."""
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}" if port else host


def parse_uri(text: str) -> Uri:
    """A SIP URI; `MalformedError` if it is another scheme's or none."""
    tail = _USER_TAIL.fullmatch(text)
    found = _URI.fullmatch(f"{tail[1]}:{tail[3]}" if tail else text)
    if found is None or (tail is not None and not tail[2]):
        raise MalformedError(f"no SIP URI: {text[:80]!r}")
    port = int(found[4]) if found[4] else 0
    if port > 65535:
        raise MalformedError(f"no port: {port}")
    parameters: dict[str, str] = {}
    if found[5]:
        for part in found[5][1:].split(";"):
            name, _, value = part.partition("=")
            if name:
                parameters[name.lower()] = value
    return Uri(
        scheme=found[1].lower(),
        user=tail[2] if tail else "",
        host=found[3].strip("[]"),
        port=port,
        parameters=parameters,
        headers=found[6] or "",
    )


def parse_address(text: str) -> Address:
    """One name-addr or addr-spec with its parameters; `MalformedError` if it is neither."""
    found = _ADDRESS.match(text)
    if found is not None:
        name = unquoted(found[1]) if found[1] else found[2].strip()
        uri, rest = found[3].strip(), text[found.end() :]
    else:
        name = ""
        uri, semicolon, rest = text.partition(";")
        uri, rest = uri.strip(), semicolon + rest
        if '"' in uri or "<" in uri or any(space in uri for space in " \t"):
            raise MalformedError(f"no address: {text[:80]!r}")
    if ":" not in uri:
        raise MalformedError(f"no URI: {text[:80]!r}")
    return Address(name, uri, parse_parameters(rest))


def parse_parameters(text: str) -> dict[str, str]:
    """``;name=value`` and so on to lower-case names and values, quotes taken off."""
    parameters: dict[str, str] = {}
    at, end = 0, len(text)
    while at < end:
        found = _PARAMETER.match(text, at)
        if found is None:
            if not text[at:].strip():
                break
            raise MalformedError(f"no parameter: {text[at : at + 80]!r}")
        value = found[2] or ""
        parameters[found[1].lower()] = unquoted(value) if value[:1] == '"' else value
        at = found.end()
    return parameters


def unquoted(text: str) -> str:
    """A quoted string's content (RFC 3261 section 25.1)."""
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if "\\" in text else text[1:-1]


def split_list(text: str) -> list[str]:
    """A field's comma-separated values; commas in quotes and in <> belong to the value."""
    if "," not in text:
        return [text.strip()] if text.strip() else []
    values: list[str] = []
    start = depth = 0
    quoted = escaped = False
    for at, char in enumerate(text):
        if quoted:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                quoted = False
        elif char == '"':
            quoted = True
        elif char == "<":
            depth = 1
        elif char == ">":
            depth = 0
        elif char == "," and not depth:
            values.append(text[start:at].strip())
            start = at + 1
    values.append(text[start:].strip())
    return [value for value in values if value]

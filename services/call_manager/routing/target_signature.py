"""Where requests inside a dialog may go: the other party's Contact, signed as it passes. Pure.

A party of a dialog chooses the Request-URI and the Route that it sends (RFC 3261 section 12.2.1.1),
and may choose a carrier or a stranger's phone. A list of what is forbidden has holes: a name that
resolves to a carrier, an address that the tables do not know yet. So nothing is allowed but what
the other party has said of itself: every Contact that is a remote target gets a URI parameter

    ``pbx-to=<address>~<port>~<transport>~<kind>~<signature>``

where the address is the one that its message really came from. User agents copy the whole URI into
their requests, as they must, so that a changed Contact in a re-INVITE or UPDATE (target refresh)
brings its own proof, and any Call Manager can check it with no table at all.

A call whose media were led anew (docs/decisions/0010) has ``~<turn>~<media server>`` before the
signature: how often that was, and where they are now instead of where the Record-Route says.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from functools import lru_cache
from hashlib import blake2s
from typing import Literal
from urllib.parse import unquote

import msgspec

Kind = Literal["p", "t"]
"""A phone is reached where its packets come from, whatever it calls itself (NAT, RFC 3261 18.2.2).
A carrier is reached by its Contact, and where it has proxies of its own, by the one next to us."""

PARAMETER = "pbx-to"
SIGNATURE = 16

_CONTACT = re.compile(r'\s*((?:"(?:[^"\\]|\\.)*"|[^"<,]*?))\s*<([^<>]*)>\s*(;[^,]*)?$')
_BARE = re.compile(r"\s*([^\s;,<>\"]+)\s*(;[^,<>]*)?$")
_URI = re.compile(
    r"(sips?):(?:([^@<>\s]*)@)?(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?((?:;[^;?@<>\s]+)*)",
    re.IGNORECASE,
)


_PROOF = re.compile(rf";{PARAMETER}=[^;?>\s]*", re.IGNORECASE)
REMEMBERED = 2000
"""Contacts that a worker has read and need not read again: a phone has the same in every call."""


class Source(msgspec.Struct, frozen=True):
    """Where a message came from; ``transport`` as in a URI."""

    address: str
    port: int
    transport: str


class Anchor(msgspec.Struct, frozen=True):
    """Where a call's media are: led anew for the ``turn``-th time, to this media server.

    Turn 0 is a call as it was set up, whose server the route names.
    """

    turn: int = 0
    media: str = ""


AS_SET_UP = Anchor()


class Target(msgspec.Struct, frozen=True):
    """A Contact that we have signed: its URI as it was, and how it is reached."""

    uri: str
    source: Source
    kind: Kind
    anchor: Anchor = AS_SET_UP


class Signed(msgspec.Struct, frozen=True):
    """A Contact with its proof: the header field's value, and what routes.cfg may go by.

    ``short_cut`` is ``<Request-URI>|<URI>|<next hop>``: what a request repeats of it, and what
    `read_target` and `next_hop` would make of that; "" where they must be asked: of carriers, which
    may have proxies, of phones on connections, which may have made a new one since, and in calls
    whose media were led anew.
    """

    value: str
    short_cut: str


def sign_contact(
    key: bytes,
    call_id: str,
    value: str,
    source: Source,
    kind: Kind,
    anchor: Anchor = AS_SET_UP,
) -> Signed | None:
    """A Contact header field with its proof; None if it is not one SIP URI."""
    unsigned = _unsigned(value, source, kind, anchor)
    if unsigned is None:
        return None
    uri = unsigned.uri + _sign(key, call_id, unsigned.text)
    short = f"{uri}{unsigned.short}" if unsigned.short else ""
    return Signed(f"{unsigned.before}{uri}{unsigned.after}", short)


class _Unsigned(msgspec.Struct, frozen=True, gc=False):
    """All of a signed Contact that does not depend on the call: only a MAC is missing."""

    before: str
    uri: str
    after: str
    short: str
    text: str


@lru_cache(maxsize=REMEMBERED)
def _unsigned(value: str, source: Source, kind: Kind, anchor: Anchor) -> _Unsigned | None:
    if len(value) > 2048:
        return None
    display, inner, rest = _parts(value)
    uri = _strip(inner)
    meant = _meaning(uri)
    if meant is None:
        return None
    if kind == "t" and _is_hidden(meant[2], source.address):
        kind = "p"
    display = f"{display} " if display else ""
    at = _place(source, kind, anchor)
    plain = not anchor.turn and kind == "p" and source.transport == "udp" and "|" not in uri
    short = f"|{uri}|{_hop(source)}" if plain else ""
    return _Unsigned(
        f"{display}<", f"{uri};{PARAMETER}={at}~", f">{rest}", short, "\0".join((*meant, at))
    )


def sign_again(key: bytes, call_id: str, target: Target, anchor: Anchor) -> str:
    """The URI of a Contact that was signed before, of a call whose media are led anew."""
    at = _place(target.source, target.kind, anchor)
    proof = _sign(key, call_id, "\0".join((*(_meaning(target.uri) or ()), at)))
    return f"{target.uri};{PARAMETER}={at}~{proof}"


def _place(source: Source, kind: Kind, anchor: Anchor) -> str:
    at = f"{_pack(source.address)}~{source.port}~{source.transport}~{kind}"
    return f"{at}~{anchor.turn}~{anchor.media}" if anchor.turn else at


def read_target(key: bytes, call_id: str, uri: str) -> Target | None:
    """The Contact that a Request-URI repeats; None if it is not one that was signed for this call.

    Order and escaping of what is signed do not count: user agents print URIs anew.
    """
    parameter = _parameters(uri).get(PARAMETER, "")
    at, _, signature = parameter.rpartition("~")
    parts = at.split("~")
    clean = _strip(uri)
    meant = _meaning(clean)
    if len(parts) not in (4, 6) or meant is None or not parts[1].isdecimal():
        return None
    wanted = _sign(key, call_id, "\0".join((*meant, at)))
    if not hmac.compare_digest(wanted.encode(), signature.encode()):
        return None
    source = Source(_unpack(parts[0]), int(parts[1]), parts[2])
    anchor = Anchor(int(parts[4]), parts[5]) if len(parts) == 6 else AS_SET_UP
    return Target(clean, source, "t" if parts[3] == "t" else "p", anchor)


def next_hop(target: Target, route: str) -> str:
    """The URI to send to; "" is where the target's own URI leads.

    ``route`` is the URI of the next Route beyond ours, "" if there is none. It is believed only as
    far as it names the neighbour from whom the target came.
    """
    if target.kind == "t":
        if not route:
            return ""
        meant = _meaning(_strip(route))
        if meant is not None and meant[2].strip("[]") == target.source.address:
            return route
    return _hop(target.source)


def _hop(source: Source) -> str:
    host = f"[{source.address}]" if ":" in source.address else source.address
    return f"sip:{host}:{source.port};transport={source.transport}"


def _sign(key: bytes, call_id: str, meant: str) -> str:
    # Keyed BLAKE2s, as in route_signature.py; ``person`` keeps the two kinds apart.
    text = f"{call_id}\0{meant}".encode()
    return blake2s(text, digest_size=SIGNATURE, key=key[:32], person=b"target").hexdigest()


def _parts(value: str) -> tuple[str, str, str]:
    """A Contact's display name, URI and parameters; an empty URI where it is not one of them."""
    found = _CONTACT.match(value)
    if found is not None:
        return found[1], found[2], found[3] or ""
    found = _BARE.match(value)
    return ("", found[1], found[2] or "") if found is not None else ("", "", "")


@lru_cache(maxsize=REMEMBERED)
def _meaning(uri: str) -> tuple[str, ...] | None:
    """What decides where a URI leads and whom it means (RFC 3261 section 19.1.4)."""
    match = _URI.fullmatch(uri)
    if match is None:
        return None
    scheme, user, host, port, _ = match.groups()
    parameters = _parameters(uri)
    transport, maddr = parameters.get("transport", ""), parameters.get("maddr", "")
    return (
        scheme.lower(),
        unquote(user or ""),
        host.lower(),
        port or "",
        transport.lower(),
        maddr.lower(),
    )


def _parameters(uri: str) -> dict[str, str]:
    match = _URI.fullmatch(uri)
    if match is None:
        return {}
    pairs = (part.partition("=") for part in match[5].split(";")[1:])
    found: dict[str, str] = {}
    for name, _, value in pairs:
        if name.lower() in found:
            return {}
        found[name.lower()] = value
    return found


def _strip(uri: str) -> str:
    return _PROOF.sub("", uri) if ";" in uri else uri


def _is_hidden(host: str, source: str) -> bool:
    """Whether a carrier behind a NAT tells an address that only it can reach."""
    try:
        told, seen = ipaddress.ip_address(host.strip("[]")), ipaddress.ip_address(source)
    except ValueError:
        return False
    return told.is_private and not seen.is_private


def _pack(address: str) -> str:
    return address.replace(":", "_")


def _unpack(address: str) -> str:
    return address.replace("_", ":")

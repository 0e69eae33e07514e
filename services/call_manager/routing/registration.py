"""What a REGISTER may do, and where its calls will be sent (RFC 3261 10, 3327, 3581, 5626)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

import msgspec

from services.call_manager.routing.guard import Refusal

MAX_CONTACTS_A_REQUEST = 16

STREAMS = frozenset(("tcp", "tls", "ws", "wss"))

_CONTACT = re.compile(
    r"[\s,]*+(?:\"(?:[^\"\\]++|\\.)*+\"\s*+|[^<\",;]*+(?=<))?"
    r"(?:<([^<>]*+)>|([^\s<>\",;?]++))"
    r"((?:\s*+;\s*+[^\s=;,\"]++(?:\s*+=\s*+(?:\"(?:[^\"\\]++|\\.)*+\"|[^\s;,\"]*+))?+)*+)\s*+(?:,|$)",
    re.DOTALL,
)
_PARAMETER = re.compile(
    r";\s*+([^\s=;]++)(?:\s*+=\s*+(\"(?:[^\"\\]++|\\.)*+\"|[^\s;]*+))?+", re.DOTALL
)
_URI = re.compile(
    r"(sips?):(?:([^@<>\s]*)@)?(\[[0-9a-fA-F:.]+\]|[^\[\]:;?@<>\s]+)(?::([0-9]{1,5}))?"
    r"((?:;[^?]*)?)(\?.*)?",
    re.IGNORECASE | re.DOTALL,
)


class MalformedError(Exception):
    """A header field that cannot be read; the text fits a reason phrase (400)."""


class Uri(msgspec.Struct, frozen=True, gc=False):
    """A SIP URI taken apart. ``host`` in lower case, IPv6 without brackets; ``port`` 0 if none."""

    scheme: str
    user: str
    host: str
    port: int
    parameters: str = ""
    headers: str = ""


class Contact(msgspec.Struct, frozen=True, gc=False):
    """One binding asked for. ``parameters`` are the header field's, names in lower case."""

    uri: Uri
    parameters: dict[str, str]


def parse_uri(text: str) -> Uri | None:
    """None for what is no SIP or SIPS URI."""
    match = _URI.fullmatch(text)
    if match is None:
        return None
    port = int(match[4] or 0)
    if port > 65535:
        return None
    return Uri(
        match[1].lower(),
        match[2] or "",
        match[3].strip("[]").lower(),
        port,
        match[5],
        match[6] or "",
    )


def parse_contacts(values: Sequence[str]) -> tuple[Contact, ...] | None:
    """The contacts in Contact (or Path) header fields' values; None for ``*``.

    Raises MalformedError. RFC 3261 20.10: a URI with ``,;?`` needs its angle brackets, so that
    ``sip:a@b?Route=x`` without them is an error (RFC 4475 3.1.2.12).
    """
    contacts: list[Contact] = []
    star = False
    for value in values:
        if value.strip() == "*":
            star = True
            continue
        position, end = 0, len(value)
        while position < end:
            match = _CONTACT.match(value, position)
            if match is None:
                if not value[position:].strip(" \t\r\n,"):
                    break
                raise MalformedError("Malformed Contact")
            uri = parse_uri(match[1] if match[1] is not None else match[2])
            if uri is None:
                raise MalformedError("Contact Is Not a SIP URI")
            parameters = {name.lower(): value for name, value in _PARAMETER.findall(match[3])}
            contacts.append(Contact(uri, parameters))
            if len(contacts) > MAX_CONTACTS_A_REQUEST:
                raise MalformedError("Too Many Contacts in One Request")
            position = match.end()
    if star:
        if contacts:
            raise MalformedError("Contact * Stands Alone")
        return None
    return tuple(contacts)


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A REGISTER as it came. ``source`` and ``port`` are where from; ``transport`` in lower case.

    ``aor_user`` and ``from_user`` are the user parts of To and From, and the domains are those
    they name. ``trusted`` is a source in the trusted CIDRs: an edge proxy of the operator's.
    """

    aor_user: str
    aor_domain: str
    from_user: str
    from_domain: str
    contacts: Sequence[str]
    paths: Sequence[str]
    source: str
    port: int
    transport: str
    trusted: bool = False


class Plan(msgspec.Struct, frozen=True, gc=False):
    """How to store it. ``received``: send its calls where the REGISTER came from, whatever the
    Contact says. ``ping``: a NAT stands between, whose mapping OPTIONS keep open.
    """

    received: bool
    ping: bool


def same_user(asked: Asked) -> Refusal | None:
    """From and To are one address of record: we take no third-party registration (10.2)."""
    if asked.from_user != asked.aor_user or asked.from_domain != asked.aor_domain:
        return Refusal(403, "From and To Differ")
    return None


def plan(asked: Asked) -> Plan | Refusal:
    """Where the calls of this registration go, or why it is refused.

    A registration never makes us send to a third party. Calls go to a Contact's own address only
    if the REGISTER came from that address; else they go where it came from. So a Contact that
    names a carrier, an internal server or a victim (RFC 3261 26.1.1 and 10.3) names nothing. Path
    (RFC 3327) may lead only to the proxy that sent it, or to where a trusted one says.
    """
    try:
        contacts = parse_contacts(asked.contacts)
        paths = parse_contacts(asked.paths) or ()
    except MalformedError as error:
        return Refusal(400, str(error))
    for contact in contacts or ():
        if "received" in contact.parameters and not asked.trusted:
            return Refusal(400, "Contact Has a received Parameter")
    if paths:
        if not asked.trusted and not _same(paths[0].uri.host, asked.source):
            return Refusal(403, "Path Does Not Lead to Its Sender")
        return Plan(received=False, ping=False)
    if asked.transport in STREAMS:
        # Nobody can connect to a phone's ephemeral port; its own connection is the way (RFC 5626).
        return Plan(received=True, ping=False)
    # Another port of the same address is the phone's own choice, not a NAT's.
    away = any(not _same(contact.uri.host, asked.source) for contact in contacts or ())
    return Plan(received=away, ping=away)


def _same(host: str, source: str) -> bool:
    if host == source:
        return True
    try:
        return ipaddress.ip_address(host) == ipaddress.ip_address(source.strip("[]"))
    except ValueError:
        return False

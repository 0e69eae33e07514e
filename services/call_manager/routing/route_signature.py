"""What this Call Manager signs so that it need not remember it: route sets and referrals. Pure.

A Record-Route says which media server a call is on, in parameters:

=======  ======================================================================
``ms``   the media server's name
``mk``   two letters, the kinds of media of caller and callee (media_profile.py)
``sg``   MAC over Call-ID, the caller's tag, ``ms`` and ``mk``
=======  ======================================================================

A request inside a dialog that cannot show a signature of its own Call-ID and tag was not made by a
party of a call that went through here, and goes nowhere.
"""

from __future__ import annotations

import hmac
import re
from hashlib import blake2s
from typing import Literal

import msgspec

SIGNATURE = 16
"""Bytes of the MAC: half of its longest, as RFC 2104 section 5 asks."""
REFERRAL_LIFETIME = 60
"""Seconds between a REFER and the call that it asks for."""

Side = Literal["caller", "callee"]

_PARAMETER = re.compile(r";(ms|mk|sg)=([A-Za-z0-9._-]{1,64})")
_NAMED = re.compile(r";ms=([A-Za-z0-9._-]{1,64});mk=[a-z]+;sg=")
_FIRST = re.compile(r'\s*(?:"[^"]*"\s*)?<([^<>]*)>')


class RouteParameters(msgspec.Struct, frozen=True):
    media: str
    kinds: str
    signature: str


def _sign(key: bytes, *parts: str) -> str:
    # Keyed BLAKE2s (RFC 7693) is a MAC by itself; HMAC by OpenSSL took ten times as long.
    text = "\0".join(parts).encode()
    return blake2s(text, digest_size=SIGNATURE, key=key[:32], person=b"route").hexdigest()


def route_parameters(key: bytes, call_id: str, caller_tag: str, media: str, kinds: str) -> str:
    """The parameters of a Record-Route, beginning with their semicolon."""
    signature = _sign(key, "route", call_id, caller_tag, media, kinds)
    return f";ms={media or '-'};mk={kinds};sg={signature}"


def read_route(header: str) -> RouteParameters | None:
    """The parameters in a Route header field's first URI; None if it has none of ours."""
    first = _FIRST.match(header[:2048])
    if first is None:
        return None
    found = dict(_PARAMETER.findall(first[1]))
    if len(found) != 3:
        return None
    media = "" if found["ms"] == "-" else found["ms"]
    return RouteParameters(media, found["mk"], found["sg"])


def media_of(headers: str) -> str:
    """The media server that any of these Record-Routes names; "" if none does.

    Nothing is verified: good for what harms only the one who says it.
    """
    found = _NAMED.search(headers)
    return "" if found is None or found[1] == "-" else found[1]


def verify_route(
    key: bytes, route: RouteParameters, call_id: str, from_tag: str, to_tag: str
) -> Side | None:
    """Which party sent the request; None if neither did."""
    for side, tag in (("caller", from_tag), ("callee", to_tag)):
        wanted = _sign(key, "route", call_id, tag, route.media, route.kinds)
        if hmac.compare_digest(wanted.encode(), route.signature.encode()):
            return side  # type: ignore[return-value]  # the literals stand two lines above
    return None


def trunk_contact(key: bytes, trunk: str) -> str:
    """The user part of the Contact under which a trunk is registered; nobody can guess it."""
    return f"trunk-{trunk}-{_sign(key, 'trunk', trunk)}"


def read_trunk_contact(key: bytes, user: str) -> str | None:
    """The trunk that a request to this user part comes from, if we made it."""
    name = user.removeprefix("trunk-").rpartition("-")[0] if user.startswith("trunk-") else ""
    if name and hmac.compare_digest(trunk_contact(key, name).encode(), user.encode()):
        return name
    return None


_REFER_TO = re.compile(
    r"^([^<]*<)?(sips?:[^<>?;@\s]+@[^<>?;\s]+)((?:;[^<>?\s]*)?)(\?[^<>\s]*)?(>[^<,]*)?$"
)


def sign_referral(key: bytes, refer_to: str, tenant: str, extension: str, now: float) -> str | None:
    """A Refer-To value whose URI says, signed, on whose behalf the call will come.

    The one who is referred may be outside and may dial nothing; the call that he is asked to make
    goes by the rights of who asked; RFC 3515 section 2.4.2 leaves that to policy. None if the
    value is not a single SIP URI with a user part.
    """
    match = _REFER_TO.match(refer_to.strip())
    if match is None:
        return None
    before, uri, parameters, headers, after = (part or "" for part in match.groups())
    user = uri.partition(":")[2].partition("@")[0]
    until = int(now) + REFERRAL_LIFETIME
    signature = _sign(key, "refer", user, tenant, extension, str(until))
    mark = f";pbx-by={extension}.{until}.{signature}.{tenant}"
    if not before:
        before, after = "<", ">"
    return f"{before}{uri}{parameters}{mark}{headers}{after}"


def read_referral(key: bytes, user: str, value: str, now: float) -> tuple[str, str] | None:
    """Tenant and extension of who asked for a call to ``user``, from its ``pbx-by`` parameter."""
    parts = value.split(".", 3)
    if len(parts) != 4:
        return None
    extension, until, signature, tenant = parts
    if not until.isdecimal() or len(until) > 12 or int(until) < now:
        return None
    wanted = _sign(key, "refer", user, tenant, extension, until)
    if not hmac.compare_digest(wanted.encode(), signature.encode()):
        return None
    return tenant, extension

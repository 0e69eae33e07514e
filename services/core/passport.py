"""What Call Managers and application servers tell each other of a call, signed.

The key is the cluster's. A Call Manager sends a call to an application server with a `Passport` for
the purpose ``serve``; the server calls on, to connect the caller with somebody, with one for the
purpose ``onward``. It travels in the header field `HEADER`, which nobody outside may set, and is
good for one Call-ID and for `LIFETIME` seconds. So what a phone sends is never taken for the word
of the cluster, wherever it comes from.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from hashlib import blake2s
from typing import Literal

import msgspec

from services.core.configuration import DestinationKind, Document

HEADER = "X-PBX-Call"
LIFETIME = 60
"""Seconds; an INVITE is sent again for 32."""
MOST_HOPS = 5
"""Application servers that one call may come by in turn."""
LONGEST = 4096
SIGNATURE = 16
"""Bytes of the MAC: half of its longest, as RFC 2104 section 5 asks."""

Purpose = Literal["serve", "onward"]


class Passport(Document, frozen=True, kw_only=True):
    """A call of ``tenant``'s that goes to ``kind`` and ``target``.

    ``extension`` is the caller's, where it is a user of the tenant; ``caller`` is what is shown of
    him, a number or that extension, empty if he wants to be ``anonymous``. ``called`` is what was
    called first. ``own``: the caller has chosen the target himself, so it is his rights to call out
    that count, and not the tenant's. ``within`` is the Call-ID of the caller's own call, of which
    this one is a part; ``hops`` counts the application servers before. ``until`` is a Unix time.
    """

    tenant: str
    kind: DestinationKind
    target: str
    caller: str = ""
    name: str = ""
    extension: str = ""
    trunk: str = ""
    anonymous: bool = False
    called: str = ""
    own: bool = False
    within: str = ""
    hops: int = 0
    until: int = 0


_decoder = msgspec.json.Decoder(Passport)


def seal(key: bytes, purpose: Purpose, call_id: str, passport: Passport, now: float) -> str:
    """The header field's value, for the INVITE with this Call-ID."""
    stamped = msgspec.structs.replace(passport, until=int(now) + LIFETIME)
    text = base64.urlsafe_b64encode(msgspec.json.encode(stamped)).decode()
    return f"{text}.{_sign(key, purpose, call_id, text)}"


def unseal(key: bytes, purpose: Purpose, call_id: str, value: str, now: float) -> Passport | None:
    """The passport in a header field's value; None if it is not one for this call and time."""
    text, _, signature = value.strip().rpartition(".")
    if not text or len(value) > LONGEST or not value.isascii():
        return None
    if not hmac.compare_digest(_sign(key, purpose, call_id, text), signature):
        return None
    try:
        found = _decoder.decode(base64.urlsafe_b64decode(text))
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return None
    return found if found.until >= now and found.hops <= MOST_HOPS else None


def _sign(key: bytes, purpose: Purpose, call_id: str, text: str) -> str:
    data = "\0".join((purpose, call_id, text)).encode()
    return blake2s(data, digest_size=SIGNATURE, key=key[:32], person=b"passport").hexdigest()

"""A call that rang at another Call Manager, as the agent hands it to this one's Kamailio. Pure.

A proxy's INVITE transaction dies with it: nobody is left to pass on the answer, to cancel what
rings or to stop it. But the branch that Kamailio puts into its Via is a digest of the request's own
fields (RFC 3261 section 17.2.3), the same at every Call Manager. So the caller's INVITE is taken in
anew: phones that ring see it come again and go on ringing, and there is a transaction as before.

The agent sends the INVITE as it came, with one header field more: `HEADER`, a `Restoration` in
base64 and a MAC with the cluster key, which nobody else can make. It sends it again and again until
it hears that the call was taken up: a phone whose connection was lost with the last holder has to
make a new one first, and an INVITE that waited in Kamailio for that would be another one to it, for
each time that a transaction is suspended uses up a branch.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Sequence
from hashlib import blake2s

import msgspec

from services.call_manager.routing.flows import Branch
from services.call_manager.routing.target_signature import Source

HEADER = "PBX-Restore"
LARGEST = 60_000
"""Bytes that fit a datagram with room to spare."""
SOME = 4.0
"""Seconds after the take-over for which the rest of a stage's phones are waited for. Those that are
there ring on meanwhile, and say again what they answer."""
CALLER = 8.0
"""Seconds after the take-over for which a caller's connection is waited for. A callee says its
answer for 32 s (RFC 3261 section 13.3.1.4)."""
_SENT_BY_PORT = re.compile(r"[^\s;,]+\s+(?:\[[^\]]*\]|[^\s;,:]+)\s*:\s*([0-9]{1,5})")


class Restoration(msgspec.Struct, frozen=True, array_like=True):
    """What is not in the INVITE; see `services.core.events.Ringing`."""

    call: str
    source: str
    progress: str
    record: str
    first: int
    branches: tuple[tuple[str, str], ...]
    until: float


_BRANCH = re.compile(r";\s*branch\s*=\s*([^\s;,]+)", re.IGNORECASE)


def patience(
    found: Restoration, missing: Sequence[Branch], *, caller_is_back: bool, came: float
) -> float:
    """Unix time until which the call is left alone, ``came`` being when the VIP came here.

    ``missing`` are the branches whose phones have no connection now.
    """
    ends = [0.0]
    if missing:
        ends.append(found.until if len(missing) == len(found.branches) else came + SOME)
    if not caller_is_back:
        ends.append(came + CALLER)
    return min(found.until, max(ends))


def source(text: str) -> Source:
    """A `Restoration`'s ``source``."""
    transport, _, place = text.partition(":")
    host, _, port = place.rpartition(":")
    return Source(host.strip("[]"), int(port), transport.lower())


def sent_by_port(via: str, transport: str) -> int:
    """Where a peer whose connection is gone expects a new one (RFC 3261 section 18.2.2)."""
    port = _SENT_BY_PORT.match(via)
    if port is not None:
        return int(port[1])
    return 5061 if transport == "tls" else 5060


def branch_of(via: str) -> str:
    """The branch of a Via header field, the name of its transaction for both ends."""
    found = _BRANCH.search(via)
    return found[1] if found is not None else ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Restoration).decode


def message(key: bytes, invite: str, restoration: Restoration) -> bytes | None:
    """The message for Kamailio; None where it is no INVITE or does not fit a datagram."""
    first, end, rest = invite.partition("\r\n")
    if not end or not first.startswith("INVITE "):
        return None
    packed = base64.urlsafe_b64encode(_encode(restoration)).decode()
    text = f"{first}\r\n{HEADER}: {packed}.{_sign(key, packed)}\r\n{rest}".encode()
    return text if len(text) <= LARGEST else None


def read(key: bytes, value: str) -> Restoration | None:
    """What a `HEADER`'s value says; None if it was not made with the key."""
    packed, _, signature = value.strip().partition(".")
    if not hmac.compare_digest(_sign(key, packed).encode(), signature.encode()):
        return None
    try:
        return _decode(base64.urlsafe_b64decode(packed))
    except (ValueError, msgspec.DecodeError):
        return None


def _sign(key: bytes, packed: str) -> str:
    return blake2s(packed.encode(), digest_size=16, key=key[:32], person=b"restore").hexdigest()

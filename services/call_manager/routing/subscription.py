"""Subscriptions to a user's own voicemail box: message-summary (RFC 3842, RFC 6665). Pure.

Routing answers and keeps them (kamailio_subscriptions.py); the agent reads them and sends the
NOTIFYs (voicemail/waiting.py).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

import msgspec

from services.call_manager.routing.guard import Refusal, retry_after

PACKAGE = "message-summary"
ALLOWED = f"Allow-Events: {PACKAGE}\r\n"
SHORTEST, LONGEST = 60, 3600
"""Seconds that a subscription lasts."""
MOST = 10
"""Of one user; a phone that starts anew leaves one behind."""
TOO_LONG = 2000
"""Characters of all that is kept of one."""

TOO_BRIEF = Refusal(423, "Interval Too Brief", f"Min-Expires: {SHORTEST}\r\n")
NO_CONTACT = Refusal(400, "One Contact Is Needed")
TOO_LARGE = Refusal(513, "Message Too Large")
BUSY = retry_after(Refusal(503, "Subscriptions Are Not Kept Now"), 30)


class Subscription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a NOTIFY of it says (RFC 3261 section 12.1.1).

    ``call`` is its Call-ID, ``local`` our side (To of the SUBSCRIBE, with our tag), ``remote`` the
    phone's; ``contact`` and ``own`` the URIs of both, ``hop`` where the phone's packets come from,
    as a URI; ``routes`` the route set; ``event`` the whole header field; ``until`` a Unix time.
    """

    call: str
    local: str
    remote: str
    contact: str
    own: str
    hop: str
    until: float
    event: str = PACKAGE
    routes: tuple[str, ...] = ()


class Ask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Routing to the agent: tell a user's phones of the box now.

    The one that has subscribed with ``call``; where that is over, ``over`` is what it was; or the
    one that has registered by REGISTERs of the Call-ID ``registration``.
    """

    tenant: str
    extension: str
    call: str = ""
    registration: str = ""
    over: Subscription | None = None


_kept = msgspec.json.Decoder(tuple[Subscription, ...])


def is_ours(event: str) -> bool:
    """Whether an Event header field asks for message-summary."""
    return event.partition(";")[0].strip().lower() == PACKAGE


def granted(expires: str) -> int | Refusal:
    """Seconds for what Expires says, "" where there is none; 0 ends the subscription."""
    text = expires.strip()
    if not text:
        return LONGEST
    if not (text.isascii() and text.isdigit()):
        return Refusal(400, "Malformed Expires")
    seconds = int(text) if len(text) < 10 else LONGEST
    if 0 < seconds < SHORTEST:
        return TOO_BRIEF
    return min(seconds, LONGEST)


def tag(key: bytes, call_id: str, remote_tag: str) -> str:
    """Our tag: the same for a SUBSCRIBE that comes again, at whichever Call Manager."""
    said = f"subscription\0{call_id}\0{remote_tag}".encode("utf-8", "surrogateescape")
    return hmac.new(key, said, hashlib.sha256).hexdigest()[:16]


def fits(one: Subscription) -> bool:
    """Whether it is small enough to be kept."""
    return len(msgspec.json.encode(one)) <= TOO_LONG


def read(value: str | None, now: float) -> tuple[Subscription, ...]:
    """A user's, as `write` wrote them, but for those that are over."""
    if not value:
        return ()
    try:
        found = _kept.decode(value)
    except (msgspec.MsgspecError, UnicodeError):
        # Another release's.
        return ()
    return tuple(one for one in found if one.until > now)


def write(found: Iterable[Subscription]) -> str:
    return msgspec.json.encode(tuple(found)).decode()


def keep(found: Iterable[Subscription], new: Subscription, now: float) -> tuple[Subscription, ...]:
    """With ``new`` in place of what its dialog was before; at most `MOST`, the newest."""
    others = [one for one in found if one.call != new.call and one.until > now]
    if new.until > now:
        others.append(new)
    return tuple(sorted(others, key=lambda one: one.until)[-MOST:])

"""What a Call Manager lets in: bans, rates, scanners, and messages no user agent may send.

Pure: counters and clocks are the caller's. The counters live in Kamailio's shared hash tables,
because every worker must see them and their expiry must not need anybody alive.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote

import msgspec

from services.core.configuration import FailedAuth, RateLimit

MAX_LINES = 256
"""Lines of a message's header; a real one has 20 to 60."""

MAX_CALL_ID = 200
"""Bytes of a Call-ID, percent-encoded; a real one has 20 to 130. It is part of a recording's file
name, of which a file system takes 255 bytes: a longer one would be a call that no rule records."""

SCANNERS = (
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sip-scan",
    "sipcli",
    "sipsak",
    "sundayddr",
    "iwar",
    "vaxasip",
    "vaxsipuseragent",
    "eyebeam release 3006o",
    "pplsip",
    "siparmyknife",
    "smap",
    "voipbuster scanner",
    "nm@nm",
    "gulp",
)
"""What tools for finding open PBXs call themselves, in lower case; a part of User-Agent."""

_SCANNER = re.compile("|".join(re.escape(name) for name in SCANNERS), re.IGNORECASE)
_SCHEME = re.compile(r"(?:sips?|tel|urn):", re.IGNORECASE)
_ESCAPED_BREAK = re.compile(r"%0[ad]", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A final answer: status code, reason phrase, and header lines (each with CRLF) to add."""

    code: int
    reason: str
    headers: str = ""


def retry_after(refusal: Refusal, seconds: int) -> Refusal:
    """The same with Retry-After (RFC 3261 20.33)."""
    return Refusal(refusal.code, refusal.reason, f"Retry-After: {seconds}\r\n{refusal.headers}")


class Message(msgspec.Struct, frozen=True, gc=False):
    """What is judged of a request before anything is looked up.

    ``size`` is in bytes; ``head`` is the first line and the header, as text.
    """

    ruri: str
    from_uri: str
    to_uri: str
    call_id: str
    size: int
    head: str


@lru_cache(maxsize=4096)
def is_scanner(user_agent: str) -> bool:
    """Whether the User-Agent is that of a tool that looks for open PBXs; it gets no answer.

    Remembered by User-Agent: there are few of them, and the search takes 10 µs.
    """
    return _SCANNER.search(user_agent) is not None


def inspect(message: Message, max_message: int) -> Refusal | None:
    """Refuses what is too long, of an unknown scheme, or would break a header where it is copied.

    Escaped line breaks in a user part (``sip:a%0d%0aX:@b``) have one use: to become header fields
    in what somebody unescapes. Escaped NULs are refused by nobody's RFC (4475 3.1.1.4) and pass.
    """
    if message.size > max_message:
        return Refusal(513, "Message Too Large")
    if message.head.count("\n") > MAX_LINES:
        return Refusal(400, "Too Many Header Fields")
    if "\0" in message.head:
        # Legal within quotes, where only an attacker puts it: C programs further on stop there.
        return Refusal(400, "NUL in Header")
    if _is_too_long(message.call_id):
        return Refusal(400, "Call-ID Too Long")
    if message.ruri.startswith("<"):
        # RFC 4475 3.1.2.7: brackets are no part of a Request-URI.
        return Refusal(400, "Malformed Request-URI")
    if not _SCHEME.match(message.ruri):
        return Refusal(416, "Unsupported URI Scheme")
    for uri in (message.ruri, message.from_uri, message.to_uri):
        if "%0" in uri and _ESCAPED_BREAK.search(uri):
            return Refusal(400, "Escaped Line Break in URI")
    return None


def _is_too_long(call_id: str) -> bool:
    # A byte encoded is three at most: the usual Call-ID need not be encoded to be measured.
    most = 3 * (len(call_id) if call_id.isascii() else 4 * len(call_id))
    return most > MAX_CALL_ID and len(quote(call_id, safe="")) > MAX_CALL_ID


def request_uri(message: str) -> str:
    """The Request-URI as it stands in a request's first line; "" if there is none."""
    return ([*message.partition("\n")[0].split(" ", 2), "", ""])[1]


def header_text(text: str) -> str:
    """``text`` fit for a quoted string in a header field that we write: no controls, escaped."""
    return _CONTROL.sub("", text).replace("\\", "\\\\").replace('"', '\\"')


@lru_cache(maxsize=65536)
def source_key(address: str) -> str:
    """Whom a ban or a limit hits: the IPv4 address, or the /64 of an IPv6 one.

    Whoever has one IPv6 address has 2**64 of them.
    """
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))


class Trusted:
    """Membership in the trusted CIDRs, remembered by address: a source asks again and again."""

    KEPT = 65536

    def __init__(self, cidrs: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(cidr, strict=False) for cidr in cidrs]
        self._known: dict[str, bool] = {}

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return False
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= self.KEPT:
                self._known.clear()
            known = self._known[address] = self._find(address)
        return known

    def _find(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address.strip("[]"))
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def meter(due: float, now: float, rate: float, burst: float) -> float | None:
    """Token bucket as one number (generic cell rate algorithm, ITU-T I.371): the new ``due`` time.

    ``due`` is when the bucket would be full again, 0 at first; ``rate`` is tokens a second,
    ``burst`` the bucket's size beyond the one in hand. None: over the limit, nothing to store.
    """
    step = 1.0 / rate
    due = max(due, now)
    if due - now > burst * step:
        return None
    return due + step


def rate_allows(due: float, now: float, limit: RateLimit) -> float | None:
    """`meter` for one source; ``limit.requests`` 0 means no limit (gives ``now``)."""
    if limit.requests <= 0:
        return now
    return meter(due, now, limit.requests, limit.burst)


def counts_as_failure(*, forged: bool, proven: bool) -> bool:
    """Whether a failed authentication counts towards a ban of its source address.

    Over UDP anyone can write any source address, so only an answer to a nonce that was sent to
    that address counts: else a phone is banned by whoever knows where it is. ``proven`` is a
    source that completed a TCP handshake.
    """
    return proven or not forged


def is_banned_after(failures: int, limit: FailedAuth) -> bool:
    """Whether the ``failures``-th failure within the window bans; ``limit`` 0 never does."""
    return 0 < limit.limit <= failures

"""Digest access authentication: credentials, nonces, verification (RFC 7616, 8760; RFC 3261 22).

A nonce carries its own proof, so that each Call Manager of a cluster takes what another one gave
and none keeps a list of what it gave: time, salt, and a MAC by the cluster key over both, the realm
and the source address. What is kept is the last nonce count of the nonces in use (`advance`).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from urllib.parse import unquote

import msgspec

from services.core.configuration import DigestAlgorithm, User

NONCE_LIFETIME = 300
"""Seconds. A phone that comes back later is told stale=true and asks its user nothing."""

CLOCK_SKEW = 5
"""Seconds that a nonce of another Call Manager may be ahead of this one's clock."""

RETRANSMISSION = 32
"""Seconds for which the same request may come again with the same nonce count (64*T1)."""

MAX_HEADER = 4096
MAX_HEADERS = 8

_PARAMETERS = re.compile(
    r"[\s,]*+(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]++)[ \t\r\n]*+=[ \t\r\n]*+"
    r"(?:\"((?:[^\"\\]++|\\.)*+)\"|([^\s,\"=]++))[ \t\r\n]*+(?:,|$)|(.+))",
    re.DOTALL,
)
"""Name, quoted value, token, and all that is left where no parameter stands."""
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_HEX = re.compile(r"[0-9a-fA-F]+")
_LENGTHS: dict[str, int] = {"MD5": 32, "SHA-256": 64}
_NOBODY = "0" * 64
"""Stands for the HA1 of a user who is not there: an unknown name costs what a known one does."""


class MalformedError(Exception):
    """Credentials that no user agent may send; the text fits a reason phrase (400)."""


class Credentials(msgspec.Struct, frozen=True, gc=False):
    """One Authorization or Proxy-Authorization header field of scheme Digest.

    ``username`` and ``realm`` are unescaped; ``nonce``, ``uri`` and ``cnonce`` are as they stand
    between their quotes, which is how they enter the digest. ``qop`` is "auth", or "" from an
    RFC 2069 client.
    """

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str
    qop: str
    nc: int
    cnonce: str


def parse(value: str) -> Credentials | None:
    """The credentials in a header field's value; None if its scheme is not Digest.

    Raises MalformedError: a parameter twice, one missing, one that is not what RFC 7616 says.
    """
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        return None
    if len(rest) > MAX_HEADER:
        raise MalformedError("Credentials Too Long")
    parameters = _PARAMETERS.findall(rest)
    found: dict[str, str] = {}
    for name, quoted, token, other in parameters:
        if other:
            raise MalformedError("Malformed Credentials")
        found[name.lower()] = quoted or token
    if len(found) != len(parameters):
        raise MalformedError("Credentials Have a Parameter Twice")
    return _credentials(found)


def _credentials(found: dict[str, str]) -> Credentials:
    def inside(name: str) -> str:
        return found.get(name, "")

    if "userhash" in found and found["userhash"].lower() != "false":
        raise MalformedError("Userhash Is Not Offered")
    if "username*" in found:
        if "username" in found:
            raise MalformedError("Credentials Have Two Usernames")
        username = _extended(found["username*"])
    else:
        username = _unescaped(inside("username"))
    realm, nonce = _unescaped(inside("realm")), inside("nonce")
    uri, response = inside("uri"), inside("response")
    algorithm = inside("algorithm").upper() or "MD5"
    if not (username and realm and nonce and uri):
        raise MalformedError("Credentials Lack a Parameter")
    if not _HEX.fullmatch(response) or len(response) != _LENGTHS.get(algorithm, len(response)):
        raise MalformedError("Malformed Digest Response")
    qop, count, cnonce = inside("qop").lower(), inside("nc"), inside("cnonce")
    if qop == "auth":
        if len(count) != 8 or not _HEX.fullmatch(count) or not cnonce:
            raise MalformedError("qop=auth Needs nc and cnonce")
    elif qop:
        raise MalformedError("Only qop=auth Is Offered")
    number = int(count, 16) if qop else 0
    return Credentials(
        username, realm, nonce, uri, response.lower(), algorithm, qop, number, cnonce
    )


def _unescaped(value: str) -> str:
    return _ESCAPED.sub(r"\1", value) if "\\" in value else value


def _extended(value: str) -> str:
    """RFC 8187 ext-value, of which RFC 7616 3.4 wants UTF-8."""
    charset, _, rest = value.partition("'")
    _language, quote, encoded = rest.partition("'")
    if charset.lower() != "utf-8" or not quote:
        raise MalformedError("username* Must Be UTF-8")
    try:
        return unquote(encoded, errors="strict")
    except UnicodeDecodeError:
        raise MalformedError("username* Must Be UTF-8") from None


def choose(
    values: Iterable[str], realm: str, offered: Sequence[DigestAlgorithm]
) -> Credentials | None:
    """The first credentials for ``realm`` by an offered algorithm; others are not for us (20.44).

    Raises MalformedError, also for more than `MAX_HEADERS` of them.
    """
    for index, value in enumerate(values):
        if index >= MAX_HEADERS:
            raise MalformedError("Too Many Credentials")
        credentials = parse(value)
        if (
            credentials is not None
            and credentials.realm == realm
            and credentials.algorithm in offered
        ):
            return credentials
    return None


def _hash(algorithm: str, text: str) -> str:
    # A lone surrogate cannot come from UTF-8, but hashing must not be what finds that out.
    data = text.encode(errors="replace")
    if algorithm == "SHA-256":
        return hashlib.sha256(data).hexdigest()
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def response(credentials: Credentials, method: str, ha1: str) -> str:
    """What the client must have answered, in hex (RFC 7616 3.4.1; without qop RFC 2069)."""
    c = credentials
    ha2 = _hash(c.algorithm, f"{method}:{c.uri}")
    if c.qop:
        return _hash(c.algorithm, f"{ha1}:{c.nonce}:{c.nc:08x}:{c.cnonce}:{c.qop}:{ha2}")
    return _hash(c.algorithm, f"{ha1}:{c.nonce}:{ha2}")


class Freshness(Enum):
    """A nonce is ours and in time, ours and past it, or not ours for this realm and source."""

    FRESH = "fresh"
    STALE = "stale"
    FOREIGN = "foreign"


class Nonces:
    """Makes and checks nonces with the cluster key; holds nothing else."""

    def __init__(self, cluster_key: bytes, lifetime: int = NONCE_LIFETIME) -> None:
        self.lifetime = lifetime
        self._mac = hashlib.blake2s(digest_size=12, key=cluster_key[:32], person=b"nonce")

    def _sign(self, head: bytes, realm: str, source: str) -> bytes:
        mac = self._mac.copy()
        mac.update(head)
        mac.update(f"{source} {realm}".encode(errors="replace"))
        return mac.digest()

    def make(self, realm: str, source: str, now: float, salt: bytes) -> str:
        """A nonce for ``realm`` and ``source`` (an address). ``salt`` is 5 random bytes."""
        head = int(now).to_bytes(4, "big") + salt[:5].ljust(5, b"\0")
        return (head + self._sign(head, realm, source)).hex()

    def check(self, nonce: str, realm: str, source: str, now: float) -> Freshness:
        """Judges a nonce by its own proof. A changed source address needs a new nonce."""
        try:
            raw = bytes.fromhex(nonce)
        except ValueError:
            return Freshness.FOREIGN
        if (
            len(raw) != 21
            or raw.hex() != nonce
            or not hmac.compare_digest(raw[9:], self._sign(raw[:9], realm, source))
        ):
            return Freshness.FOREIGN
        age = now - int.from_bytes(raw[:4], "big")
        return Freshness.FRESH if -CLOCK_SKEW <= age <= self.lifetime else Freshness.STALE


def advance(seen: str | None, nc: int, fingerprint: str, now: float) -> str | None:
    """What to keep for a nonce after a right answer with count ``nc``; None for a replay.

    The count must grow (RFC 7616 3.4.5). The one exception is a retransmission: the same count
    and ``fingerprint`` (of response, Call-ID and CSeq) while a transaction may last, because a
    phone whose 200 was lost sends the same bytes again.
    ``nc`` 0 (no qop) makes a nonce good for one request.
    """
    if seen is not None:
        last, kept, since = seen.split(" ", 2)
        if nc <= int(last):
            again = nc == int(last) and kept == fingerprint and now - int(since) <= RETRANSMISSION
            return seen if again else None
    return f"{nc} {fingerprint} {int(now)}"


def challenges(
    realm: str, nonce: str, offered: Sequence[DigestAlgorithm], *, stale: bool, proxy: bool
) -> str:
    """Header lines, strongest first as ``offered`` has them (RFC 8760 2.3), each with CRLF."""
    name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    late = ", stale=true" if stale else ""
    return "".join(
        f'{name}: Digest realm="{quoted}", nonce="{nonce}", qop="auth", '
        f"algorithm={algorithm}{late}\r\n"
        for algorithm in offered
    )


class Verdict(Enum):
    """``WRONG`` counts against the source; ``FORGED`` only where its address is proven."""

    ACCEPTED = "accepted"
    MISSING = "missing"
    STALE = "stale"
    FORGED = "forged"
    WRONG = "wrong"
    REPLAYED = "replayed"


class Request(msgspec.Struct, frozen=True, gc=False):
    """What verification needs of a request. ``credentials`` are the header fields' values.

    ``mark`` tells one request from another of the same client: Call-ID and CSeq.
    """

    method: str
    credentials: Sequence[str]
    source: str
    mark: str


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """``user`` is set if ACCEPTED; ``username`` as soon as credentials for the realm were seen."""

    verdict: Verdict
    user: User | None = None
    username: str = ""


def judge(
    request: Request,
    realm: str,
    offered: Sequence[DigestAlgorithm],
    nonces: Nonces,
    find: Callable[[str], User | None],
    count: Callable[[str, int, str], bool],
    now: float,
) -> Judgement:
    """Verifies a request's credentials for ``realm``; the cheapest checks come first.

    ``find`` gives a user by name. ``count(nonce, nc, fingerprint)`` keeps the nonce counts by
    `advance` and says False for a replay; it is asked only after a right answer, so that nobody
    can use up another's nonce. Raises MalformedError.
    """
    credentials = choose(request.credentials, realm, offered)
    if credentials is None:
        return Judgement(Verdict.MISSING)
    name = credentials.username
    freshness = nonces.check(credentials.nonce, realm, request.source, now)
    if freshness is Freshness.FOREIGN:
        return Judgement(Verdict.FORGED, username=name)
    if freshness is Freshness.STALE:
        return Judgement(Verdict.STALE, username=name)
    user = find(name)
    known = ""
    if user is not None:
        known = user.ha1_sha256 if credentials.algorithm == "SHA-256" else user.ha1_md5
    right = response(credentials, request.method, known or _NOBODY[: len(credentials.response)])
    if not hmac.compare_digest(right, credentials.response) or not known or user is None:
        return Judgement(Verdict.WRONG, username=name)
    known = f"{credentials.response} {request.mark}".encode(errors="replace")
    fingerprint = hashlib.blake2s(known, digest_size=8).hexdigest()
    if not count(credentials.nonce, credentials.nc, fingerprint):
        return Judgement(Verdict.REPLAYED, username=name)
    return Judgement(Verdict.ACCEPTED, user=user, username=name)

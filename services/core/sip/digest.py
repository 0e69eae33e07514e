"""Digest as a client: RFC 3261 section 22, RFC 7616, RFC 8760. Pure.

As a server there is none: whoever calls has been authenticated by the Call Manager.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from typing import NamedTuple

from services.core.sip.message import Response
from services.core.sip.uri import QUOTED, TOKEN, unquoted

_ALGORITHMS = ("SHA-256", "SHA-512-256", "MD5")
"""Best first."""
_FIELD = re.compile(rf"({TOKEN})\s*=\s*({QUOTED}|[^\s,]*)")


class Credentials(NamedTuple):
    """``realm`` empty: for any. ``password`` is sent to nobody, only a hash of it and a nonce."""

    username: str
    password: str
    realm: str = ""


class Challenge(NamedTuple):
    """A Digest challenge of a 401 or 407."""

    realm: str
    nonce: str
    opaque: str
    algorithm: str
    qop: bool
    stale: bool


def challenges(response: Response) -> list[Challenge]:
    """Those that we can answer, the best first."""
    name = "www-authenticate" if response.status == 401 else "proxy-authenticate"
    found: list[Challenge] = []
    for line in response.headers.all(name):
        scheme, _, rest = line.partition(" ")
        if scheme.lower() != "digest":
            continue
        fields = {m[1].lower(): _plain(m[2]) for m in _FIELD.finditer(rest)}
        algorithm = fields.get("algorithm", "MD5").upper()
        qops = [part.strip().lower() for part in fields.get("qop", "").split(",")]
        if algorithm not in _ALGORITHMS or (fields.get("qop") and "auth" not in qops):
            continue
        found.append(
            Challenge(
                realm=fields.get("realm", ""),
                nonce=fields.get("nonce", ""),
                opaque=fields.get("opaque", ""),
                algorithm=algorithm,
                qop="auth" in qops,
                stale=fields.get("stale", "").lower() == "true",
            )
        )
    return sorted(found, key=lambda challenge: _ALGORITHMS.index(challenge.algorithm))


def authorization(
    response: Response, method: str, uri: str, credentials: Credentials
) -> tuple[str, str] | None:
    """The header field that answers a 401 or 407; None if ``credentials`` are not for its realm."""
    for challenge in challenges(response):
        if credentials.realm in ("", challenge.realm):
            name = "Authorization" if response.status == 401 else "Proxy-Authorization"
            return name, _answer(challenge, method, uri, credentials, secrets.token_hex(8))
    return None


def _answer(
    challenge: Challenge, method: str, uri: str, credentials: Credentials, cnonce: str
) -> str:
    hashed = _hash(challenge.algorithm)
    secret = hashed(f"{credentials.username}:{challenge.realm}:{credentials.password}")
    request = hashed(f"{method}:{uri}")
    count = "00000001"
    middle = f"{challenge.nonce}:{count}:{cnonce}:auth" if challenge.qop else challenge.nonce
    fields = [
        f'username="{credentials.username}"',
        f'realm="{challenge.realm}"',
        f'nonce="{challenge.nonce}"',
        f'uri="{uri}"',
        f'response="{hashed(f"{secret}:{middle}:{request}")}"',
        f"algorithm={challenge.algorithm}",
    ]
    if challenge.qop:
        fields += ["qop=auth", f"nc={count}", f'cnonce="{cnonce}"']
    if challenge.opaque:
        fields.append(f'opaque="{challenge.opaque}"')
    return "Digest " + ", ".join(fields)


def _hash(algorithm: str) -> Callable[[str], str]:
    name = {"SHA-256": "sha256", "SHA-512-256": "sha512_256", "MD5": "md5"}[algorithm]
    return lambda text: hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()


def _plain(value: str) -> str:
    return unquoted(value) if value[:1] == '"' else value

"""Who goes on with which call: rendezvous hashing. Pure, and imported inside Kamailio.

Everybody who knows the same servers names the same one for a call, and when a server goes, its
calls alone change hands, in equal parts. (Thaler and Ravishankar, "Using name-based mappings to
increase hit rates", IEEE/ACM Transactions on Networking 6(1), 1998.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def order(call_id: str, servers: Iterable[str]) -> list[str]:
    """``servers`` (their names) with the call's own first, then who comes after it."""
    key = call_id.encode("utf-8", "surrogateescape")
    return sorted(set(servers), key=lambda server: _weight(key, server), reverse=True)


def successor(call_id: str, servers: Iterable[str]) -> str | None:
    """The first of `order`; None where there is no server."""
    key = call_id.encode("utf-8", "surrogateescape")
    return max(set(servers), key=lambda server: _weight(key, server), default=None)


def _weight(key: bytes, server: str) -> tuple[bytes, str]:
    return hashlib.blake2b(server.encode() + b"\0" + key, digest_size=8).digest(), server

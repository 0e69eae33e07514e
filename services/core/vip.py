"""Who holds the VIP, as the registry tells it to roles that follow it."""

from __future__ import annotations

import msgspec

from services.core.configuration import prefix


def vip_key(cluster: str) -> str:
    """The key whose lock says who holds the VIP; its value names the server."""
    return f"{prefix(cluster)}floating/vip"


def holder_of(value: bytes) -> str:
    """The server that a lock's value names: the present holder, or the last one of a free lock.

    Empty for what cannot be read: nothing is decided by it then.
    """
    try:
        return msgspec.json.decode(value, type=_Holder).member.rpartition("/")[2]
    except msgspec.DecodeError:
        return ""


class _Holder(msgspec.Struct):
    """What `services.core.failover` writes; ``member`` is ``<role>/<server>``."""

    member: str

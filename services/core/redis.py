"""A connection to the cluster's Redis, which is where the VIP is and moves with it."""

from __future__ import annotations

from typing import cast

import coredis
from coredis.retry import NoRetryPolicy

TIMEOUT = 2.5
CONNECT = 0.5


def connection(
    address: tuple[str, int], password: str | None, *, timeout: float = TIMEOUT
) -> coredis.Redis[bytes]:
    """A client, to be entered. It tries nothing twice: who uses it begins anew instead.

    ``timeout`` in seconds, for each answer. It raises RedisError, OSError or TimeoutError, and
    groups of them when it is left.
    """
    host, port = address
    return coredis.Redis(
        host,
        port,
        password=password or None,
        stream_timeout=timeout,
        connect_timeout=CONNECT,
        verify_version=False,
        retry_policy=NoRetryPolicy(),
    )


def reason(error: BaseException) -> str:
    """What a client has to say, in a line."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return reason(group.exceptions[0])
    return str(error) or type(error).__name__

"""HTTP as a host sees it: connections that begin inside its namespace."""

from __future__ import annotations

import socket
from typing import Any

import httpcore
import httpx
import trio

# httpcore has no public stream that carries a socket which somebody else has made.
from httpcore._backends.trio import TrioStream

from tests.cluster.lab.namespace import inside


class _Backend(httpcore.AsyncNetworkBackend):
    """Takes literal addresses only."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - httpcore's signature
        socket_options: Any = None,  # noqa: ARG002 - httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with inside(self._namespace):
            made = trio.socket.socket(family, socket.SOCK_STREAM)
        try:
            with trio.fail_after(float("inf") if timeout is None else timeout):
                await made.connect((host, port))
        except trio.TooSlowError:
            raise httpcore.ConnectTimeout(f"{host}:{port}") from None
        except OSError as error:
            raise httpcore.ConnectError(f"{host}:{port}: {error}") from error
        else:
            stream, made = trio.SocketStream(made), None
            return TrioStream(stream)
        finally:
            if made is not None:
                made.close()


def client(namespace: str, base_url: str, **options: Any) -> httpx.AsyncClient:
    """An HTTP client that dials from inside; ``options`` are those of httpx.AsyncClient."""
    transport = httpx.AsyncHTTPTransport(trust_env=False)
    transport._pool = httpcore.AsyncConnectionPool(
        network_backend=_Backend(namespace), keepalive_expiry=4.0
    )
    return httpx.AsyncClient(base_url=base_url, transport=transport, trust_env=False, **options)

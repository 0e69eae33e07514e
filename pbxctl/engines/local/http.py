"""HTTP on trio for the engine's two servers: the registry (TCP) and the engine itself (Unix)."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import trio
from hypercorn.config import Config
from hypercorn.trio import serve as _hypercorn  # pyright: ignore[reportUnknownVariableType] - WSGI
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGISendCallable,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    HTTPScope,
    Scope,
)

IDLE = 75.0
"""Seconds that a client may keep an unused connection."""
LARGEST_BODY = 4 * 1024 * 1024


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """``path`` is decoded; ``query`` holds flags as empty strings."""

    method: str
    path: str
    query: dict[str, str] = {}
    body: bytes = b""

    def flag(self, name: str) -> bool:
        """Whether a parameter is there and does not say no."""
        return self.query.get(name, "false").lower() not in ("false", "0")


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent back."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


Ask = Callable[[Request], Awaitable[Reply]]


async def serve(
    ask: Ask,
    listener: socket.socket,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; ``ask`` is cancelled when its client goes away.

    ``listener`` is bound, by the caller, because only he can say in the operator's words what a
    failure means; it is closed at the end.
    """
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.accesslog = None
    config.loglevel = "WARNING"
    config.keep_alive_timeout = IDLE
    config.graceful_timeout = 0.2
    config.include_server_header = False

    async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
        await _hypercorn(partial(_application, ask), config, task_status=task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        task_status.started()


async def _application(
    ask: Ask, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "http":
        await _exchange(ask, scope, receive, send)


async def _exchange(
    ask: Ask, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    body = b""
    more = True
    while more:
        event = await receive()
        if event["type"] != "http.request":
            return
        body += event["body"]
        more = event["more_body"]
        if len(body) > LARGEST_BODY:
            await _send(send, Reply(status=413, body=b"Request body too large"))
            return
    query = parse_qsl(scope["query_string"].decode("ascii", "replace"), keep_blank_values=True)
    request = Request(method=scope["method"], path=scope["path"], query=dict(query), body=body)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
        await _send(send, await ask(request))
        nursery.cancel_scope.cancel()


async def _until_gone(receive: ASGIReceiveCallable, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _send(send: ASGISendCallable, reply: Reply) -> None:
    length = (b"content-length", str(len(reply.body)).encode())
    start: HTTPResponseStartEvent = {
        "type": "http.response.start",
        "status": reply.status,
        "headers": [*reply.headers, length],
    }
    await send(start)
    end: HTTPResponseBodyEvent = {
        "type": "http.response.body",
        "body": reply.body,
        "more_body": False,
    }
    await send(end)


async def _lifespan(receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """The lifespan protocol, with nothing to do at either end."""
    event: dict[str, Any] = {"type": ""}
    while event["type"] != "lifespan.shutdown":
        event = dict(await receive())
        if event["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})

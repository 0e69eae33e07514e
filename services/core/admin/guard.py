"""Outermost layer of the admin HTTP side: who may come in, and what goes out when code fails."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """ASGI middleware: 401 without the bearer token, but for the paths in ``public``.

    And 400 for a NUL, which no name has and which databases and Kamailio trip over.

    An exception that nobody expected ends here: the application has logged it and answered 500.
    """

    def __init__(self, app: Application, *, token: str, public: frozenset[str]) -> None:
        self._app = app
        self._expected = token.encode()
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] not in self._public and not self._authorized(scope):
            await _answer(
                send,
                401,
                "a bearer token is needed: Authorization: Bearer <admin_token>",
                (b"www-authenticate", b"Bearer"),
            )
            return
        nul = "\0" in scope["path"] or b"%00" in scope["query_string"]
        if nul and scope["path"] not in self._public:
            await _answer(send, 400, "the path or a parameter has a NUL in it")
            return
        finished = False

        async def watched(message: Message) -> None:
            nonlocal finished
            await send(message)
            finished = message["type"] == "http.response.body" and not message.get("more_body")

        try:
            await self._app(scope, receive, watched)
        except Exception:
            if not finished:
                raise  # the answer is half out: the connection has to be cut

    def _authorized(self, scope: Scope) -> bool:
        given = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                scheme, _, given = value.partition(b" ")
                if scheme.lower() != b"bearer":
                    return False
        # In constant time, so that the token cannot be found byte by byte (RFC 6750 section 5).
        return hmac.compare_digest(given.strip(), self._expected)


async def _answer(send: Send, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps({"error": text}).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})

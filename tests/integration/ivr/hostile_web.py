"""A tenant's web service that does whatever is worst for who asks it."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

Behaviour = Callable[[trio.SocketStream], Awaitable[None]]

GOOD = b'{"to": "fine"}'
MIB = 1024 * 1024


def _answer(body: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    head = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *fields, b"", b""]
    return b"\r\n".join(head) + body


def _says(data: bytes) -> Behaviour:
    async def behaviour(stream: trio.SocketStream) -> None:
        await stream.send_all(data)

    return behaviour


def _repeats(first: bytes, then: bytes, pause: float = 0.0) -> Behaviour:
    async def behaviour(stream: trio.SocketStream) -> None:
        await stream.send_all(first)
        for _ in itertools.count():
            await stream.send_all(then)
            await trio.sleep(pause)

    return behaviour


async def _is_silent(stream: trio.SocketStream) -> None:
    del stream
    await trio.sleep_forever()


def _bomb() -> bytes:
    """300 MB in under 1 KiB."""
    return gzip.compress(gzip.compress(bytes(300 * MIB), 1), 9)


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BAD: dict[str, Behaviour] = {
    "silent": _is_silent,
    "drips-head": _repeats(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.05),
    "drips-body": _repeats(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b" ", 0.05),
    "endless-head": _repeats(b"HTTP/1.1 200 OK\r\nX: ", b"x" * MIB),
    "endless-body": _repeats(b"HTTP/1.1 200 OK\r\n\r\n", b" " * MIB),
    "endless-chunks": _repeats(_CHUNKED, b"1\r\n \r\n" * 20_000),
    "endless-continue": _repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000),
    "bomb": _says(_answer(_bomb(), b"Content-Encoding: gzip, gzip")),
    "unknown-packing": _says(_answer(GOOD, b"Content-Encoding: \xff\xfe")),
    "large": _says(_answer(b'{"to": "%s"}' % (b"x" * MIB))),
    "no-json": _says(_answer(b"<html>")),
    "nothing": _says(_answer(b"")),
    "no-utf8": _says(_answer(b'{"to": "M\xfcller"}')),
    "half-a-pair": _says(_answer(b'{"to": "\\ud800"}')),
    "deep": _says(_answer(b"[" * 30_000)),
    "digits": _says(_answer(b'{"to": %s}' % (b"9" * 30_000))),
    "endless-number": _says(_answer(b'{"to": 1e999}')),
    "other-type": _says(_answer(b'{"to": {"to": "fine"}}')),
    "list": _says(_answer(b'["fine"]')),
    "null": _says(_answer(b"null")),
    "redirect": _says(_answer(b"", b"Location: /fine", status=b"302 Found")),
    "fault": _says(_answer(GOOD, status=b"500 Oh")),
    "cut-off": _says(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + GOOD),
    "no-http": _says(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "two-lengths": _says(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"),
    "nul": _says(b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 14\r\n\r\n" + GOOD),
}


class HostileWeb:
    """``asked`` are the requests as they came."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.url = ""

    async def serve(self, stream: trio.SocketStream) -> None:
        try:
            data = b""
            while b"\r\n\r\n" not in data or not data.rstrip().endswith(b"}"):
                more = await stream.receive_some()
                if not more:
                    return
                data += more
            self.asked.append(data)
            name = data.split(b" ")[1].decode().strip("/")
            good = _says(_answer(GOOD, b"Set-Cookie: who=acme; Path=/"))
            await BAD.get(name, good)(stream)
        except trio.BrokenResourceError:
            pass  # whoever asked has had enough
        finally:
            await stream.aclose()


@asynccontextmanager
async def hostile_web(address: str) -> AsyncGenerator[HostileWeb]:
    """A service at ``address``: the path says how it behaves."""
    web = HostileWeb()
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, web.serve, 0, host=address)
        (listener, *_) = await nursery.start(serve)
        web.url = f"http://{address}:{listener.socket.getsockname()[1]}/"
        yield web
        nursery.cancel_scope.cancel()

"""Client of rtpengine's ng protocol: a cookie, a space and a bencoded dictionary in one datagram.

Source: rtpengine's README, "The NG Control Protocol". A repeated cookie gets the first answer
again, so that a retry does nothing twice.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, cast

import bencodepy  # pyright: ignore[reportMissingTypeStubs]
import trio

Value: TypeAlias = "bytes | int | list[Value] | dict[str, Value]"
Answer: TypeAlias = dict[str, "Value"]
MAX_DATAGRAM = 65535

# The package has no types.
_bencode = cast("Callable[[Any], bytes]", bencodepy.encode)  # pyright: ignore[reportUnknownMemberType]
_bdecode = cast("Callable[[bytes], Any]", bencodepy.decode)  # pyright: ignore[reportUnknownMemberType]


class NgError(Exception):
    """rtpengine refused the command; the message is its reason."""


class NgTimeoutError(NgError):
    """rtpengine did not answer in time, or is not there. Whether it did the command is unknown."""


def encode(cookie: bytes, command: str, parameters: Mapping[str, Any]) -> bytes:
    """One request; ``parameters`` by rtpengine's own names: ``call-id``, ``from-tag``, ``sdp``."""
    return cookie + b" " + _bencode({"command": command, **parameters})


def decode(datagram: bytes) -> tuple[bytes, Answer]:
    """Cookie and dictionary of one answer. Raises ValueError if it is not one."""
    cookie, space, body = datagram.partition(b" ")
    if not space:
        raise ValueError("no cookie")
    try:
        value = _bdecode(body)
    except bencodepy.BencodeDecodeError as error:
        raise ValueError(f"not bencoded: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("not a dictionary")  # noqa: TRY004 - one kind of error for callers
    return cookie, cast("Answer", _with_text_keys(value))


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        pairs = cast("dict[bytes, Any]", value).items()
        return {k.decode("utf-8", "replace"): _with_text_keys(v) for k, v in pairs}
    if isinstance(value, list):
        return [_with_text_keys(v) for v in cast("list[Any]", value)]
    return value


def text(value: Value | None) -> str:
    """A string of an answer; empty if it is not there or no string."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def dictionary(value: Value | None) -> Answer:
    """A dictionary of an answer; empty if it is not there or none."""
    return value if isinstance(value, dict) else {}


class Ng:
    """Commands to one rtpengine; many may be under way at once. Made by `open_ng`."""

    def __init__(self, socket: trio.socket.SocketType, name: str) -> None:
        self._socket = socket
        self._name = name
        self._waiting: dict[bytes, trio.MemorySendChannel[Answer | OSError]] = {}
        self._prefix = secrets.token_hex(4)
        self._count = 0

    async def command(
        self,
        command: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        deadline: float = 1.0,
        attempts: int = 3,
    ) -> Answer:
        """The answer to ``command``; ``deadline`` seconds are shared by all ``attempts``.

        Raises NgTimeoutError, at once where nobody listens, or NgError with rtpengine's reason.
        """
        self._count += 1
        cookie = f"{self._prefix}_{self._count}".encode()
        request = encode(cookie, command, parameters or {})
        send, receive = trio.open_memory_channel[Answer | OSError](1)
        self._waiting[cookie] = send
        try:
            for _ in range(attempts):
                with trio.move_on_after(deadline / attempts):
                    await self._socket.send(request)
                    answer = await receive.receive()
                    if isinstance(answer, OSError):
                        raise answer
                    return _judge(answer)
        except OSError as error:
            raise NgTimeoutError(f"rtpengine at {self._name}: {error.strerror}") from None
        finally:
            del self._waiting[cookie]
        raise NgTimeoutError(f"rtpengine at {self._name}: no answer to {command} in {deadline:g} s")

    async def receive_forever(self) -> None:
        """Hand each answer to the command that waits for it."""
        while True:
            try:
                datagram = await self._socket.recv(MAX_DATAGRAM)
                cookie, answer = decode(datagram)
            except ValueError:
                continue
            except OSError as error:  # ICMP: nobody listens there
                for waiting in self._waiting.values():
                    _offer(waiting, error)
                continue
            if cookie in self._waiting:
                _offer(self._waiting[cookie], answer)


def _offer(waiting: trio.MemorySendChannel[Answer | OSError], answer: Answer | OSError) -> None:
    try:
        waiting.send_nowait(answer)
    except trio.WouldBlock:
        return  # the second answer to a repeated request


def _judge(answer: Answer) -> Answer:
    if text(answer.get("result")) == "error":
        raise NgError(text(answer.get("error-reason")) or "no reason given")
    return answer


@asynccontextmanager
async def open_ng(host: str, port: int, source: str = "") -> AsyncGenerator[Ng]:
    """A client of the rtpengine at this control address; it need not be there yet.

    ``source`` is the address to ask from, by default ``host`` itself. Raises OSError if that is not
    an address of this host.
    """
    family = trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET
    with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as socket:
        # Where a host has many addresses, the kernel's choice may be another's.
        await socket.bind((source or host, 0))
        await socket.connect((host, port))
        ng = Ng(socket, f"{host}:{port}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ng.receive_forever)
            yield ng
            nursery.cancel_scope.cancel()

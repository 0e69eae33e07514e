"""Kamailio's JSON-RPC over its Unix datagram socket."""

from __future__ import annotations

import itertools
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

TIMEOUT = 1.0
LARGEST = 1 << 20
"""Bytes of an answer. Kamailio cannot send one larger than its socket's buffer, about 200 KiB."""

_encode = msgspec.json.Encoder().encode


class RpcError(Exception):
    """Kamailio did not do what was asked. ``code`` is JSON-RPC's, 0 where there was no answer."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class _Fault(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Answer(msgspec.Struct):
    id: int | None = None
    result: Any = None
    error: _Fault | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class Rpc:
    """A client; made by `open_rpc`. One question at a time: Kamailio answers them in a row."""

    def __init__(self, own: trio.socket.SocketType, server: Path) -> None:
        self._socket = own
        self._server = str(server)
        self._ids = itertools.count(1)
        self._lock = trio.Lock()

    async def __call__(self, method: str, *params: str | int, timeout: float = TIMEOUT) -> Any:
        """The result. Raises RpcError."""
        number = next(self._ids)
        request = {"jsonrpc": "2.0", "method": method, "params": params, "id": number}
        async with self._lock:
            try:
                with trio.fail_after(timeout):
                    await self._socket.sendto(_encode(request), self._server)
                    answer = await self._receive(number)
            except trio.TooSlowError:
                raise RpcError(f"Kamailio did not answer {method} within {timeout:g} s") from None
            except (FileNotFoundError, ConnectionRefusedError):
                raise RpcError("Kamailio does not run") from None
            except OSError as error:
                raise RpcError(f"Kamailio's RPC socket: {error.strerror}") from None
        if answer.error is not None:
            raise RpcError(f"{method}: {answer.error.message}", answer.error.code)
        return answer.result

    async def _receive(self, number: int) -> _Answer:
        while True:
            data, source = await self._socket.recvfrom(LARGEST)
            # Anybody on this host can send something to a socket without a file.
            if source != self._server:
                continue
            try:
                answer = _decode(data)
            except msgspec.DecodeError as error:
                raise RpcError(f"Kamailio's answer cannot be read: {error}") from None
            # An answer to a question that was given up is passed over.
            if answer.id == number:
                return answer


@asynccontextmanager
async def open_rpc(server: Path) -> AsyncGenerator[Rpc]:
    """A client of the Kamailio that listens, now or later, at ``server``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        # Linux chooses a name in the abstract namespace (unix(7)): a killed process leaves no file.
        own.bind("")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LARGEST)
        yield Rpc(trio.socket.from_stdlib_socket(own), server)

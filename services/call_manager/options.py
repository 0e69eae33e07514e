"""A SIP OPTIONS transaction, small enough to be made every second (RFC 3261 section 11)."""

from __future__ import annotations

import secrets
import socket
import ssl
from collections.abc import Callable

import trio

from services.call_manager.routing.launch import host
from services.core.configuration import Transport

ATTEMPT = 0.5
"""Seconds after which a request over UDP is sent again: T1 of RFC 3261."""
LARGEST = 65535


class OptionsError(Exception):
    """No answer, or none that is SIP."""


async def options(
    address: str, port: int, *, source: str, transport: Transport = "udp", timeout: float = 2.0
) -> int:
    """The status of the answer to an OPTIONS from ``source``. Raises OptionsError."""
    try:
        with trio.fail_after(timeout):
            if transport == "udp":
                return await over_udp(
                    address,
                    port,
                    source,
                    lambda own: request(address, port, source, own, "udp"),
                )
            return await _over_stream(address, port, source, transport)
    except trio.TooSlowError:
        raise OptionsError(f"no answer within {timeout:g} s") from None
    except OSError as error:
        raise OptionsError(error.strerror or type(error).__name__) from None


async def over_udp(address: str, port: int, source: str, request: Callable[[int], bytes]) -> int:
    """The status of the answer to a request other than INVITE, which is sent until there is one.

    ``request`` is given our own port. Raises OSError, and OptionsError if the answer is not SIP.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with trio.socket.socket(family, socket.SOCK_DGRAM) as own:
        await own.bind((source, 0))
        # Connected, so that a port that nobody listens on is told at once.
        await own.connect((address, port))
        message = request(own.getsockname()[1])
        while True:
            await own.send(message)
            with trio.move_on_after(ATTEMPT):
                return status(await own.recv(LARGEST))


async def _over_stream(address: str, port: int, source: str, transport: Transport) -> int:
    stream: trio.abc.Stream = await trio.open_tcp_stream(address, port, local_address=source)
    if transport == "tls":
        # Whether the peer's certificate is good is Kamailio's to judge, when a call goes there.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        stream = trio.SSLStream(stream, context, https_compatible=True)
    async with stream:
        try:
            await stream.send_all(request(address, port, source, 0, transport))
            return status(await stream.receive_some(LARGEST))
        except trio.BrokenResourceError:
            raise OptionsError("the connection broke") from None


def request(address: str, port: int, source: str, own_port: int, transport: Transport) -> bytes:
    token = secrets.token_hex(8)
    via = f"{host(source)}:{own_port}" if own_port else host(source)
    lines = (
        f"OPTIONS sip:{host(address)}:{port};transport={transport} SIP/2.0",
        f"Via: SIP/2.0/{transport.upper()} {via};branch=z9hG4bK{token};rport",
        f"From: <sip:check@{host(source)}>;tag={token}",
        f"To: <sip:{host(address)}:{port}>",
        f"Call-ID: {token}@{source}",
        "CSeq: 1 OPTIONS",
        "Max-Forwards: 70",
        "Content-Length: 0",
        "",
        "",
    )
    return "\r\n".join(lines).encode()


def status(data: bytes | bytearray) -> int:
    version, _, rest = bytes(data).partition(b" ")
    if version != b"SIP/2.0" or not rest[:3].isdigit():
        raise OptionsError("the answer is not SIP")
    return int(rest[:3])

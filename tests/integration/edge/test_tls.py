"""TLS connections that break off, in every way and all at once, cost nobody else's."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from tests.integration.edge.conftest import Dial
from tests.integration.edge.hostile import alive
from tests.support.kamailio import CallManager

SECONDS = 8.0
AT_ONCE = 8
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with which closing sends a reset."""


def test_handshakes_that_break_off_end_no_worker(manager: CallManager, phone: Dial) -> None:
    handset = phone(over="tls")
    assert handset.register().code == 200
    began = manager.pids()
    until = time.monotonic() + SECONDS
    with ThreadPoolExecutor(AT_ONCE) as pool:
        broken = sum(pool.map(lambda n: _break_off(manager, n, until), range(AT_ONCE)))
    assert broken > 100
    assert manager.pids() == began
    assert alive(handset)


def _break_off(manager: CallManager, source: int, until: float) -> int:
    """Connections that end early, of which none says anything; how many."""
    count, here = source, (f"{manager.network}.{20 + source}", 0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    strict = ssl.create_default_context()
    while time.monotonic() < until:
        with (
            suppress(OSError),
            socket.create_connection((manager.address, 5061), 2, here) as connection,
        ):
            count += 1
            match count % 5:
                case 0:
                    connection.sendall(os.urandom(200))
                case 1:
                    connection.sendall(b"OPTIONS sip:sales.example SIP/2.0\r\n\r\n")
                case 2:
                    hello = _hello(context)
                    connection.sendall(hello[: count % len(hello)])
                case 3:
                    # Who does not believe the certificate says so, and goes.
                    strict.wrap_socket(connection, server_hostname="sales.example")
                case _:
                    with context.wrap_socket(connection) as speaking:
                        speaking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    continue
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with suppress(OSError):
                connection.settimeout(0.05)
                connection.recv(100)
    return count - source


def _hello(context: ssl.SSLContext) -> bytes:
    """A ClientHello."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(into, out, server_hostname="sales.example").do_handshake()
    return out.read()

"""How full the kernel's receive queue of our UDP sockets is: the one honest sign of slow workers.

Asked over netlink for the sockets by name (sock_diag(7)), which costs microseconds whatever else
is open on the host; /proc/net/udp lists every media socket too, tens of thousands of lines.
"""

from __future__ import annotations

import ipaddress
import socket
import struct

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_INET_DIAG_SKMEMINFO = 7
_HEADER = struct.Struct("=IHHII")
# family, protocol, extensions, pad, states, then inet_diag_sockid: ports in network order.
_REQUEST = struct.Struct("=BBBBI2s2s16s16sI8s")
_MESSAGE_SIZE = 72
_ANY_COOKIE = b"\xff" * 8
_TIMEOUT = 0.1


def used(address: str, port: int) -> tuple[int, int] | None:
    """Bytes of the receive buffer in use, and its size; None: no UDP socket is bound there.

    Raises OSError where the kernel has no sock_diag.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(_TIMEOUT)
        netlink.send(_query(address, port))
        return _read(netlink.recv(65536))


def _query(address: str, port: int) -> bytes:
    parsed = ipaddress.ip_address(address)
    v4 = parsed.version == 4
    # A lookup of one UDP socket is from the peer's side: what we call the destination is ours.
    body = _REQUEST.pack(
        socket.AF_INET if v4 else socket.AF_INET6,
        socket.IPPROTO_UDP,
        1 << (_INET_DIAG_SKMEMINFO - 1),
        0,
        0xFFFFFFFF,
        b"\0\0",
        port.to_bytes(2, "big"),
        bytes(16),
        parsed.packed.ljust(16, b"\0"),
        0,
        _ANY_COOKIE,
    )
    size = _HEADER.size + len(body)
    return _HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + body


def _read(answer: bytes) -> tuple[int, int] | None:
    _size, kind, _flags, _sequence, _pid = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:
        return None
    position = _HEADER.size + _MESSAGE_SIZE
    while position + 4 <= len(answer):
        length, attribute = struct.unpack_from("=HH", answer, position)
        if attribute == _INET_DIAG_SKMEMINFO and length >= 12:
            return struct.unpack_from("=II", answer, position + 4)
        if length < 4:
            return None
        position += (length + 3) & ~3
    return None

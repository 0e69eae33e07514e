"""Many datagrams a system call: recvmmsg(2) and sendmmsg(2) on NumPy arrays."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

_libc = ctypes.CDLL(None, use_errno=True)
MSG_DONTWAIT = 0x40
MSG_TRUNC = 0x20
SO_TIMESTAMPNS = 35
"""Linux: the kernel's time of arrival with each datagram, as a control message."""
CONTROL = 32
"""Bytes of that control message: cmsghdr of 16, timespec of 16."""
ADDRESS = 28
"""Bytes of the longest address, sockaddr_in6."""

# struct mmsghdr of 64-bit Linux (recvmmsg(2), recv(2)).
MMSGHDR = np.dtype(
    [
        ("name", "u8"), ("namelen", "u4"), ("_1", "u4"), ("iov", "u8"), ("iovlen", "u8"),
        ("control", "u8"), ("controllen", "u8"), ("flags", "i4"), ("_2", "i4"),
        ("len", "u4"), ("_3", "u4"),
    ]
)  # fmt: skip
IOVEC = np.dtype([("base", "u8"), ("len", "u8")])


def pointers(array: NDArray[Any]) -> NDArray[np.uint64]:
    """The address of each row of ``array``."""
    return (array.ctypes.data + np.arange(len(array)) * array.strides[0]).astype(np.uint64)


def sockaddr(address: str, port: int) -> bytes:
    """``struct sockaddr_in`` or ``sockaddr_in6``, padded to `ADDRESS`. Raises ValueError."""
    try:
        if ":" in address:
            packed = socket.inet_pton(socket.AF_INET6, address)
            raw = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, 0) + packed
        else:
            packed = socket.inet_pton(socket.AF_INET, address)
            raw = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + packed
    except (OSError, struct.error):
        raise ValueError(f"{address}:{port} is no address and port") from None
    return raw.ljust(ADDRESS, b"\0")


def namelen(family: int) -> int:
    """Bytes that the kernel reads and writes of an address of ``family``."""
    return 28 if family == socket.AF_INET6 else 16


class Inbox:
    """Receives up to ``count`` datagrams at once; the arrays are valid until the next `receive`."""

    def __init__(self, count: int, size: int, family: int) -> None:
        self.data = np.zeros((count, size), np.uint8)
        self.addresses = np.zeros((count, ADDRESS), np.uint8)
        self._count = count
        self._control = np.zeros((count, CONTROL), np.uint8)
        self._times = self._control.view(np.int64)
        self._iov = np.zeros(count, IOVEC)
        self._iov["base"] = pointers(self.data)
        self._iov["len"] = size
        self._headers = np.zeros(count, MMSGHDR)
        self._headers["name"] = pointers(self.addresses)
        self._headers["iov"] = pointers(self._iov)
        self._headers["iovlen"] = 1
        self._headers["control"] = pointers(self._control)
        self._namelen = namelen(family)
        self._pointer = ctypes.c_void_p(self._headers.ctypes.data)

    def receive(self, fd: int) -> int:
        """How many came; 0 if none wait, or if the socket had an error to tell (ICMP)."""
        self._headers["namelen"] = self._namelen
        self._headers["controllen"] = CONTROL
        got = _libc.recvmmsg(fd, self._pointer, self._count, MSG_DONTWAIT, None)
        return max(got, 0)

    @property
    def full(self) -> int:
        """The count at which there may be more."""
        return self._count

    def lengths(self, count: int) -> NDArray[np.int64]:
        """Bytes of each datagram; 0 of one that was longer than there is room for."""
        headers = self._headers[:count]
        return np.where(headers["flags"] & MSG_TRUNC, 0, headers["len"]).astype(np.int64)

    def arrivals(self, count: int) -> NDArray[np.float64]:
        """When the kernel took each, in seconds since the epoch."""
        times = self._times[:count]
        return times[:, 2] + times[:, 3] * 1e-9


class Outbox:
    """Sends one datagram a row, each made of a head of ``head`` bytes and a payload anywhere."""

    def __init__(self, count: int, head: int, family: int) -> None:
        self.heads = np.zeros((count, head), np.uint8)
        self.addresses = np.zeros((count, ADDRESS), np.uint8)
        iov = np.zeros((count, 2), IOVEC)
        iov["base"][:, 0] = pointers(self.heads)
        iov["len"][:, 0] = head
        self._iov = iov
        self.payloads = iov["base"][:, 1]
        """Where each payload is, as an address."""
        self.head_lengths = iov["len"][:, 0]
        self.lengths = iov["len"][:, 1]
        """Bytes of each payload."""
        self._headers = np.zeros(count, MMSGHDR)
        self._headers["name"] = pointers(self.addresses)
        self._headers["namelen"] = namelen(family)
        self._headers["iov"] = pointers(iov)
        self._headers["iovlen"] = 2

    def select(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """What `send` needs to send ``rows``; good for as long as these are the rows."""
        return np.ascontiguousarray(self._headers[rows])


def send(fd: int, headers: NDArray[Any]) -> int:
    """Send what `Outbox.select` gave; how many could not be sent.

    One that fails (its network is unreachable, a firewall refuses it) does not hold up the rest.
    """
    count, at, failed = len(headers), 0, 0
    base = headers.ctypes.data
    size = MMSGHDR.itemsize
    while at < count:
        pointer = ctypes.c_void_p(base + size * at)
        sent = _libc.sendmmsg(fd, pointer, min(1024, count - at), MSG_DONTWAIT)
        if sent <= 0:
            if ctypes.get_errno() == errno.EAGAIN:  # the network takes no more now
                return failed + count - at
            failed += 1
            sent = 1
        at += sent
    return failed


def open_socket(address: str, port: int, buffer: int) -> socket.socket:
    """A bound UDP socket with arrival times, and buffers as large as may be. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.bind((address, port))
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        for force, plain in ((33, socket.SO_RCVBUF), (32, socket.SO_SNDBUF)):
            try:  # SO_RCVBUFFORCE and SO_SNDBUFFORCE go past the system's limit, if we may
                opened.setsockopt(socket.SOL_SOCKET, force, buffer)
            except OSError:
                opened.setsockopt(socket.SOL_SOCKET, plain, buffer)
    except OSError as error:
        opened.close()
        raise OSError(error.errno, f"{address}:{port}: {os.strerror(error.errno or 0)}") from None
    return opened

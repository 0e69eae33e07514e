"""Addresses for tests: each PBX gets a loopback network of its own, so ports never clash."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

LOCK_PORT = 9
"""Nothing listens on it on a loopback address; holding it marks the network as taken."""


@contextmanager
def loopback_network() -> Iterator[str]:
    """A free ``127.x.y`` for this test alone; append ``.1`` and so on for hosts.

    The mark is a bound socket, so that the kernel frees the network with the process, however that
    ends.
    """
    start = os.getpid()
    for step in range(64 * 256):
        n = (start + step) % (64 * 256)
        network = f"127.{64 + n // 256}.{n % 256}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mark:
            try:
                mark.bind((f"{network}.254", LOCK_PORT))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise
            yield network
            return
    raise RuntimeError("no loopback network is free")

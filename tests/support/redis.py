"""A Redis of a test's own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.hosts import loopback_network

PORT = 6390


@pytest.fixture
def redis() -> Iterator[tuple[str, int]]:
    """Its address and its process."""
    with loopback_network() as network:
        address = f"{network}.1"
        words = ["redis-server", "--bind", address, "--port", str(PORT), "--save", ""]
        process = subprocess.Popen([*words, "--protected-mode", "no"], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 15
            while not listens(address):
                assert time.monotonic() < deadline, "Redis does not start"
                time.sleep(0.02)
            yield address, process.pid
        finally:
            os.kill(process.pid, signal.SIGCONT)
            process.kill()
            process.wait(10)


def listens(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, PORT)) == 0

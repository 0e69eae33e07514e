"""The filter in the kernel: what of a host's packets is read at all."""

from __future__ import annotations

import socket
import struct

import pytest
import trio

from services.media.tap import Tap, open_tap
from tests.support.hosts import loopback_network


def event(key: int, *, end: bool = True, first: int = 0x80, more: bytes = b"") -> bytes:
    flags = 0x8A if end else 0x0A
    return struct.pack("!BBHIIBBH", first, 101, 5, 8000 * key, 7, key, flags, 800) + more


@pytest.mark.parametrize("host", ["4", "6"])
async def test_the_ends_of_events_are_read_and_nothing_else(host: str) -> None:
    family = socket.AF_INET if host == "4" else socket.AF_INET6
    with (
        loopback_network() as network,
        open_tap() as tap,
        socket.socket(family, socket.SOCK_DGRAM) as here,
        socket.socket(family, socket.SOCK_DGRAM) as there,
    ):
        address = f"{network}.21" if host == "4" else "::1"
        for each in (here, there):
            each.bind((address, 0))
        _, port = here.getsockname()[:2]
        for _ in range(3):
            here.sendto(event(1), there.getsockname())
        for other in (
            event(2, end=False),
            event(3, first=0x90),
            event(4, more=b"\0"),
            event(5)[:-1],
            bytes(172),
        ):
            here.sendto(other, there.getsockname())
        here.sendto(event(6), there.getsockname())
        keys = Tap()
        seen: list[bytes] = []
        with trio.fail_after(5):
            while not seen or seen[-1][-4] != 6:
                await trio.lowlevel.wait_readable(tap)
                packet = tap.recv(128)
                if port.to_bytes(2, "big") in packet[:42]:
                    seen.append(packet)
                    keys.saw(packet, 1.0)
        # Each as it left; as it arrived, on the loopback interface, too, it would be twice.
        assert len(seen) == 4
        assert keys.of([(address, port)], 1.0, 1.0) == [("1", 0.0), ("6", 0.0)]

"""Keys on their way out of this host, where rtpengine may not log them (docs/decisions/0019).

An IVR server hears callers through rtpengine in plain RTP, so each key leaves the media server as
telephone events (RFC 4733) whatever the caller's side is. They are read off the outgoing packets:
`open_tap` gives a packet socket that passes the last ones of an event only, `Tap` makes keys of
them (pure). Which call a key is of, its session says: it came from one of the session's ports.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple

from services.core.audio import keys as events
from services.media.keys import Keys, Pressed

Place = tuple[str, int]
"""Address and port of ours that packets leave from."""

EVENT = 8 + 12 + events.FORMAT.size
"""Bytes of a telephone event in UDP and RTP, without contributing sources and extensions."""
KNOWN = 4096
"""Events that are known again: their last packet is sent three times (RFC 4733 section 2.5.1.4)."""
BACKLOG = 64 * 1024
"""Bytes of packets that may wait to be read; who sends more loses keys, not the agent's time."""

_ETH_P_ALL = 0x0003
_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_SO_ATTACH_FILTER = 26
_PACKET_OUTGOING = 4
_IPV4, _IPV6 = 20, 40
_RTP = 0x80
"""Version 2, no padding, no extension, no contributing source."""
_END = 0x80

# Classic BPF (linux/filter.h): loads into the accumulator, jumps on it, returns.
_WORD, _HALF, _BYTE = 0x20, 0x28, 0x30
_EQUAL, _ANY_BIT = 0x15, 0x45
_RETURN = 0x06
_PROTOCOL, _PACKET_TYPE = 0xFFFFF000, 0xFFFFF004


class _Test(NamedTuple):
    load: int
    offset: int
    jump: int
    operand: int


def _event(ip: int) -> tuple[_Test, ...]:
    """The last packet of an event, after ``ip`` bytes of header."""
    return (
        _Test(_HALF, ip + 4, _EQUAL, EVENT),
        _Test(_BYTE, ip + 8, _EQUAL, _RTP),
        _Test(_BYTE, ip + 21, _ANY_BIT, _END),
    )


_OUTGOING = (_Test(_WORD, _PACKET_TYPE, _EQUAL, _PACKET_OUTGOING),)
_OVER_IPV4 = (
    _Test(_WORD, _PROTOCOL, _EQUAL, _ETH_P_IP),
    _Test(_BYTE, 0, _EQUAL, 0x45),
    _Test(_BYTE, 9, _EQUAL, socket.IPPROTO_UDP),
    *_event(_IPV4),
)
_OVER_IPV6 = (
    _Test(_WORD, _PROTOCOL, _EQUAL, _ETH_P_IPV6),
    _Test(_BYTE, 6, _EQUAL, socket.IPPROTO_UDP),
    *_event(_IPV6),
)


def _program(chains: Iterable[Sequence[_Test]]) -> bytes:
    """A filter that takes a packet which passes all tests of one chain, each an alternative."""
    program = b""
    for chain in chains:
        left = 2 * len(chain)
        for test in chain:
            left -= 2
            program += struct.pack("=HBBI", test.load, 0, 0, test.offset)
            # Over the chain's other tests and its return, to the next chain.
            program += struct.pack("=HBBI", test.jump, 0, left + 1, test.operand)
        program += struct.pack("=HBBI", _RETURN, 0, 0, 0xFFFF)
    return program + struct.pack("=HBBI", _RETURN, 0, 0, 0)


def open_tap() -> socket.socket:
    """A socket for such packets, each from its IP header on; it does not block.

    Raises OSError, PermissionError where the process has no CAP_NET_RAW.
    """
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
    try:
        tap.setblocking(False)
        program = _program(((*_OUTGOING, *_OVER_IPV4), (*_OUTGOING, *_OVER_IPV6)))
        held = ctypes.create_string_buffer(program)
        told = struct.pack("@HP", len(program) // 8, ctypes.addressof(held))
        tap.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, told)
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BACKLOG)
        # What came before it had its filter.
        with suppress(BlockingIOError):
            while True:
                tap.recv(1)
    except OSError:
        tap.close()
        raise
    return tap


class Tap:
    """Times are seconds of one clock."""

    def __init__(self) -> None:
        self._keys = Keys()
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def saw(self, packet: bytes, now: float) -> None:
        """Take a packet of `open_tap`'s; what is no key is passed over."""
        ip = _IPV6 if packet[:1] >= b"\x60" else _IPV4
        if len(packet) < ip + EVENT:
            return
        # Addresses, ports, and of RTP the time stamp and the SSRC: this event of this stream.
        name = packet[ip - (32 if ip == _IPV6 else 8) : ip + 4] + packet[ip + 12 : ip + 20]
        found = events.parse(packet[ip + 20 :])
        if found is None or found.event >= len(events.KEYS) or name in self._known:
            return
        self._known[name] = None
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
        source = ip_address(packet[8:24] if ip == _IPV6 else packet[12:16])
        (port,) = struct.unpack_from("!H", packet, ip)
        self._keys.pressed(_name((str(source), port)), events.KEYS[found.event], now)

    def of(self, places: Iterable[Place], within: float, now: float) -> Pressed:
        """The keys that left from one of these places in the last ``within`` seconds."""
        told = self._keys.of(map(_name, places), now)
        keys = [pressed for each in told.values() for pressed in each if pressed[1] <= within]
        return sorted(keys, key=lambda pressed: -pressed[1])

    def forget(self, now: float) -> None:
        """Let go of what is too old."""
        self._keys.forget(now)


def _name(place: Place) -> str:
    return f"{ip_address(place[0])} {place[1]}"

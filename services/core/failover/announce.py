"""Tells the neighbours on the link that an address has moved here.

IPv4: gratuitous ARP (RFC 5227 section 3), as request and as reply, since some take only one of
them. IPv6: unsolicited neighbour advertisements that override (RFC 4861 section 7.2.6).
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import struct
from collections.abc import Iterable

from services.core.failover.addresses import Place

log = logging.getLogger(__name__)

AFTER = (0.0, 0.05, 0.15, 0.4, 1.0, 2.0)
"""Seconds after the gain: a switch may drop the first, and a neighbour may be busy."""
_BROADCAST = b"\xff" * 6
_ARP = 0x0806
_ALL_NODES = "ff02::1"
_ADVERTISEMENT = 136
_OVERRIDE = 0x20000000
_TARGET_LINK_LAYER = 2


def announce(places: Iterable[Place]) -> None:
    """Once; what cannot be sent is logged, since the address is there all the same."""
    for place in places:
        mac = bytes.fromhex(place.mac.replace(":", ""))
        if len(mac) != 6 or not any(mac):
            continue
        try:
            if ":" in place.address:
                _advertise(place, mac)
            else:
                _gratuitous(place, mac)
        except OSError as error:
            log.warning("%s: not announced on %s: %s", place.address, place.interface, error)


def arp_frames(address: str, mac: bytes) -> tuple[bytes, bytes]:
    """Ethernet frames of the request and the reply."""
    ip = ipaddress.IPv4Address(address).packed
    head = _BROADCAST + mac + struct.pack("!H", _ARP)
    fixed = struct.pack("!HHBB", 1, 0x0800, 6, 4)
    request = head + fixed + struct.pack("!H", 1) + mac + ip + bytes(6) + ip
    reply = head + fixed + struct.pack("!H", 2) + mac + ip + _BROADCAST + ip
    return request, reply


def advertisement(address: str, mac: bytes) -> bytes:
    """The ICMPv6 message; its checksum is the kernel's work."""
    ip = ipaddress.IPv6Address(address).packed
    return (
        struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE)
        + ip
        + struct.pack("!BB", _TARGET_LINK_LAYER, 1)
        + mac
    )


def _gratuitous(place: Place, mac: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as own:
        own.bind((place.interface, 0))
        for frame in arp_frames(place.address, mac):
            own.send(frame)


def _advertise(place: Place, mac: bytes) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as own:
        # RFC 4861 section 7.1.2: a neighbour drops what has another hop limit.
        own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, place.index)
        own.bind((place.address, 0, 0, place.index))
        own.sendto(advertisement(place.address, mac), (_ALL_NODES, 0, 0, place.index))

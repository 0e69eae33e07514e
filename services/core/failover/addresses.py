"""Floating addresses on this host's interfaces, over netlink (rtnetlink(7)). Linux only.

An address is added with a valid lifetime of 1 s, so that it goes by itself when nobody refreshes
it, and with a preferred one of 0, so that no traffic but its own is sent from it. It brings no
route: a network's route would outlive, or be taken for, that of the host's own address.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import struct
from collections.abc import Iterable
from typing import Any

import msgspec
from pyroute2 import IPRoute as _IPRoute  # pyright: ignore[reportMissingTypeStubs]
from pyroute2.netlink.rtnl.ifaddrmsg import (  # pyright: ignore[reportMissingTypeStubs]
    ifaddrmsg as _ifaddrmsg,  # pyright: ignore[reportUnknownVariableType]
)

# pyroute2 has no types.
IPRoute: Any = _IPRoute
ifaddrmsg: Any = _ifaddrmsg

log = logging.getLogger(__name__)

LIFETIME = 1
"""Seconds; the kernel counts in whole ones."""
LIFETIMES = {"ifa_preferred": 0, "ifa_valid": LIFETIME, "cstamp": 0, "tstamp": 0}
REFRESH = 0.3
"""Seconds between two refreshes."""
WITHIN = 0.5
"""Seconds for the kernel's answer."""
FOREVER = 0xFFFFFFFF
# rtnetlink(7), netlink(7), if_addr.h
RTM_NEWADDR, RTM_DELADDR = 20, 21
NLM_F_REQUEST, NLM_F_ACK, NLM_F_REPLACE, NLM_F_CREATE = 0x1, 0x4, 0x100, 0x400
IFA_F_NODAD, IFA_F_NOPREFIXROUTE = 0x02, 0x200
_ANSWER = struct.Struct("=IHHIIi")


class AddressError(Exception):
    """An address cannot be put on an interface; the message says which and why."""


class Place(msgspec.Struct, frozen=True):
    """Where an address is to be. ``mac`` is the interface's, empty where it has none."""

    address: str
    prefix: int
    index: int
    interface: str
    mac: str


class Addresses:
    """``cidrs`` with prefix lengths; each goes on the interface whose own network it is in.

    Else on that of ``own``. All methods block, for a millisecond as a rule, and raise AddressError.
    """

    def __init__(self, cidrs: Iterable[str], own: str) -> None:
        self._wanted = [ipaddress.ip_interface(cidr) for cidr in cidrs]
        self._own = ipaddress.ip_address(own)
        self._places: tuple[Place, ...] = ()
        self.problem = ""
        """Which of them cannot be put there, and why, while others are."""

    @property
    def places(self) -> tuple[Place, ...]:
        """Where they are put; empty before the first `keep`."""
        return self._places

    def prepare(self) -> None:
        """Look where they are to be put, which takes longer than putting them there."""
        self._places = tuple(self._find())

    def keep(self) -> None:
        """Have them for `LIFETIME` s from now on."""
        if len(self._places) != len(self._wanted):
            self.prepare()
        places, failed = self._places, list[str]()
        for place in places:
            try:
                _ask(_message(place, RTM_NEWADDR))
            except AddressError as error:
                failed.append(f"{place.address} on {place.interface}: {error}")
                # The interface may have been made anew, with another index.
                self._places = ()
        self.problem = "; ".join(failed)
        if failed and len(failed) == len(places):
            raise AddressError(self.problem)

    def drop(self) -> None:
        """Have them no more; nothing if they are not there."""
        for place in self._places or tuple(self._present()):
            _ask(
                _message(place, RTM_DELADDR),
                ignore=(errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO),
            )

    def own_already(self) -> bool:
        """Whether each is an address that this host was given for good by somebody else."""
        permanent = {found[0] for found in _addresses() if found[3] == FOREVER}
        return {wanted.ip for wanted in self._wanted} <= permanent

    def _find(self) -> Iterable[Place]:
        links = _links()
        present = list(_addresses())
        floating = {wanted.ip for wanted in self._wanted}
        for wanted in self._wanted:
            at = [
                (network.prefixlen, index)
                for ip, network, index, _ in present
                if wanted.ip in network and ip not in floating
            ] or [(0, index) for ip, _, index, _ in present if ip == self._own]
            if not at:
                raise AddressError(
                    f"{wanted}: no interface of this host has an address in its network,"
                    f" nor has one {self._own}"
                )
            index = max(at)[1]
            name, mac = links[index]
            yield Place(str(wanted.ip), wanted.network.prefixlen, index, name, mac)

    def _present(self) -> Iterable[Place]:
        links = _links()
        for ip, network, index, valid in _addresses():
            for wanted in self._wanted:
                if ip == wanted.ip and valid != FOREVER:
                    yield Place(str(ip), network.prefixlen, index, *links[index])


def _message(place: Place, kind: int) -> bytes:
    family = socket.AF_INET6 if ":" in place.address else socket.AF_INET
    message = ifaddrmsg()
    message["header"]["type"] = kind
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK
    message["family"] = family
    message["prefixlen"] = place.prefix
    message["index"] = place.index
    attributes: list[tuple[str, object]] = [
        ("IFA_ADDRESS", place.address),
        ("IFA_LOCAL", place.address),
    ]
    if kind == RTM_NEWADDR:
        message["header"]["flags"] |= NLM_F_CREATE | NLM_F_REPLACE
        flags = IFA_F_NOPREFIXROUTE | (IFA_F_NODAD if family == socket.AF_INET6 else 0)
        attributes += [
            ("IFA_FLAGS", flags),
            (
                "IFA_CACHEINFO",
                {"ifa_preferred": 0, "ifa_valid": LIFETIME, "cstamp": 0, "tstamp": 0},
            ),
        ]
    message["attrs"] = attributes
    message["header"]["sequence_number"] = 1
    message.encode()
    return bytes(message.data)


def _ask(message: bytes, *, ignore: tuple[int, ...] = ()) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as own:
        own.settimeout(WITHIN)
        try:
            own.sendto(message, (0, 0))
            answer = own.recv(4096)
        except OSError as error:
            raise AddressError(f"netlink: {error.strerror or error}") from None
    code = -_ANSWER.unpack_from(answer)[5]
    if code and code not in ignore:
        raise AddressError(f"netlink: {errno.errorcode.get(code, code)}")


_Found = tuple[
    ipaddress.IPv4Address | ipaddress.IPv6Address,
    ipaddress.IPv4Network | ipaddress.IPv6Network,
    int,
    int,
]


def _addresses() -> Iterable[_Found]:
    """(address, its network, interface's index, valid lifetime) of every address here."""
    with IPRoute() as route:
        for message in route.get_addr():
            text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            interface = ipaddress.ip_interface(f"{text}/{message['prefixlen']}")
            lifetime: Any = message.get_attr("IFA_CACHEINFO") or {}
            yield (
                interface.ip,
                interface.network,
                int(message["index"]),
                int(lifetime.get("ifa_valid", FOREVER)),
            )


def _links() -> dict[int, tuple[str, str]]:
    with IPRoute() as route:
        return {
            int(message["index"]): (
                str(message.get_attr("IFLA_IFNAME")),
                str(message.get_attr("IFLA_ADDRESS") or ""),
            )
            for message in route.get_links()
        }

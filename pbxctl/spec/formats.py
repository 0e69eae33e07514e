"""Formats of text that a pattern cannot tell: addresses, networks, SIP URIs."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable
from typing import Any

import msgspec
from jsonschema import FormatChecker

from services.core.configuration import Transport

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_HOST = re.compile(r"(?=.{1,253}$)([A-Za-z0-9_]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?)+")
_URI = re.compile(
    r"(?P<scheme>sips?):(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:;@?]+)(:(?P<port>[0-9]{1,5}))?(?P<rest>;.*)?"
)


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Where a trunk's requests go. ``port`` 0 leaves it to DNS and the transport's default."""

    host: str
    port: int
    transport: Transport


def address(text: str) -> Address:
    """An IP address. Raises ValueError that says what was expected."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(
            f'expected an IP address, such as "10.20.0.11"{_near_miss(text)}'
        ) from None
    if found.is_unspecified or found.is_multicast or "%" in text:
        raise ValueError("expected the address of one machine, such as 10.20.0.11")
    return found


def interface(text: str) -> Interface:
    """An IP address, maybe with a prefix length. Raises ValueError that says what was expected."""
    address(text.partition("/")[0])
    try:
        return ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError(
            "expected an address and its prefix length, such as 10.20.0.10/24"
        ) from None


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network, or one address as a network. Raises ValueError that says what was expected."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        if "host bits" in str(error):
            meant = ipaddress.ip_network(text, strict=False)
            raise ValueError(f"has host bits set; the network is {meant}") from None
        raise ValueError(
            "expected an address or a network with its prefix length, such as 198.51.100.0/29"
        ) from None


def sip_uri(text: str) -> Peer:
    """Host, port and transport of a carrier's URI (RFC 3261 section 19.1). Raises ValueError."""
    example = "such as sip:sbc.carrier-a.example;transport=tls"
    if "@" in text:
        raise ValueError(f"expected a SIP URI without a user, {example}")
    match = _URI.fullmatch(text)
    if not match:
        raise ValueError(f"expected a SIP URI, {example}")
    host = match["host"].strip("[]")
    if match["host"].startswith("[") or re.fullmatch(r"[0-9.]+", host):
        address(host)
    elif not _HOST.fullmatch(host):
        raise ValueError(f"expected a SIP URI with a host name or address, {example}")
    port = int(match["port"] or 0)
    if match["port"] and not 0 < port < 65536:
        raise ValueError("expected a port from 1 to 65535")
    transport: Transport = "tls" if match["scheme"] == "sips" else "udp"
    for parameter in (match["rest"] or "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name != "transport":
            raise ValueError(f'parameter "{name}" is not known here; only transport is')
        if value not in ("udp", "tcp", "tls"):
            raise ValueError(f'transport "{value}": expected udp, tcp or tls')
        if match["scheme"] == "sips" and value != "tls":
            raise ValueError("sips: goes over TLS; leave transport out")
        transport = value
    return Peer(host=host.lower(), port=port, transport=transport)


def day(text: str) -> datetime.date:
    """A date. Raises ValueError that says what was expected."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise ValueError("expected a date such as 2026-12-24") from None


def _near_miss(text: str) -> str:
    if "/" in text:
        return ", without a prefix length"
    if re.fullmatch(r"[0-9.]+", text) and re.search(r"(^|\.)0[0-9]", text):
        return ", without leading zeros"
    return ""


def _maybe_empty(check: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text == "" else check(text)


CHECKS: dict[str, Callable[[str], Any]] = {
    "ip-address": address,
    "ip-address-or-empty": _maybe_empty(address),
    "ip-interface": _maybe_empty(interface),
    "ip-network": network,
    "sip-uri": sip_uri,
    "date": day,
}


def checker() -> FormatChecker:
    """For jsonschema; the error's ``cause`` is the ValueError."""
    formats = FormatChecker(formats=())
    for name, check in CHECKS.items():

        def conforms(value: object, check: Callable[[str], Any] = check) -> bool:
            if isinstance(value, str):
                check(value)
            return True

        formats.checks(name, raises=ValueError)(conforms)
    return formats

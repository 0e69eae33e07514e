"""Where trunks are: their hosts' addresses, asked for again and again, off everybody's path.

A name without a port is looked up as RFC 3263 says: SRV records first, A and AAAA without any.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable

import dns.asyncresolver
import dns.exception
import dns.resolver
import trio

from services.call_manager import srv
from services.core.configuration import Trunk

log = logging.getLogger(__name__)

EVERY = 30.0
"""Seconds between look-ups of a host: the system's resolver keeps to the records' lifetimes."""
PATIENCE = 5.0


class Resolver:
    """Addresses of trunks by name, best first; the last answer is kept while there is none.

    ``ports`` has the port of the first address where SRV records say one. ``dns_client`` makes
    the client that asks for them, by the system's configuration if not told otherwise.
    """

    def __init__(
        self,
        dns_client: Callable[[], dns.asyncresolver.Resolver] = dns.asyncresolver.Resolver,
    ) -> None:
        self.addresses: dict[str, tuple[str, ...]] = {}
        self.ports: dict[str, int] = {}
        self.problems: dict[str, str] = {}
        self._dns_client = dns_client
        self._services: dict[str, list[srv.Target]] = {}

    async def resolve(self, trunks: Iterable[Trunk]) -> bool:
        """Look all of them up, together; whether anything changed. Raises nothing."""
        before = (dict(self.addresses), dict(self.ports))
        named = {trunk.name: trunk for trunk in trunks}
        for name in self.addresses.keys() - named.keys():
            del self.addresses[name]
            self.ports.pop(name, None)
            self._services.pop(name, None)
        self.problems = {name: why for name, why in self.problems.items() if name in named}
        async with trio.open_nursery() as nursery:
            for trunk in named.values():
                nursery.start_soon(self._one, trunk)
        return (self.addresses, self.ports) != before

    async def _one(self, trunk: Trunk) -> None:
        try:
            with trio.fail_after(PATIENCE):
                found, port = await self._locate(trunk)
        except (OSError, trio.TooSlowError) as error:
            why = "no answer from DNS" if isinstance(error, trio.TooSlowError) else str(error)
            if self.problems.get(trunk.name) != why:
                log.warning("trunk %s: %s: %s", trunk.name, trunk.host, why)
            self.problems[trunk.name] = why
            return
        self.problems.pop(trunk.name, None)
        self.addresses[trunk.name] = found
        self.ports[trunk.name] = port

    async def _locate(self, trunk: Trunk) -> tuple[tuple[str, ...], int]:
        """Addresses, and the first one's port, 0 for the transport's own. Raises OSError."""
        if trunk.port or _is_address(trunk.host):
            return await _look_up(trunk.host), 0
        services = await self._ask(trunk)
        if not services:
            return await _look_up(trunk.host), 0
        found: dict[str, int] = {}
        for one in services:
            for address in await self._host(one.host):
                found.setdefault(address, one.port)
        if not found:
            raise OSError(f"none of the {len(services)} hosts of its SRV records has an address")
        return tuple(found), next(iter(found.values()))

    async def _ask(self, trunk: Trunk) -> list[srv.Target]:
        """The trunk's SRV records in order; those of the last answer where there is none now."""
        last = self._services.get(trunk.name, [])
        try:
            with trio.fail_after(PATIENCE / 2):
                answer = await self._dns_client().resolve(
                    srv.name(trunk.host, trunk.transport), "SRV"
                )
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            found: list[srv.Target] = []
        except (dns.exception.DNSException, OSError, trio.TooSlowError):
            return last
        else:
            records = [srv.Target(r.priority, r.weight, r.port, str(r.target)) for r in answer]
            # Drawn once: a trunk that changed its target every half minute would never rest.
            found = last if sorted(records) == sorted(last) else srv.order(records)
        self._services[trunk.name] = found
        return found

    async def _host(self, name: str) -> tuple[str, ...]:
        try:
            answers = await self._dns_client().resolve_name(name, lifetime=PATIENCE / 2)
        except (dns.exception.DNSException, OSError):
            return ()
        found = {str(ipaddress.ip_address(str(one))) for one in answers.addresses()}
        return tuple(sorted(found, key=_ipv4_first))


def sources(
    trunks: Iterable[Trunk], addresses: dict[str, tuple[str, ...]]
) -> tuple[dict[str, str], list[str]]:
    """Source address → trunk, and what is wrong with it: an address tells one trunk only."""
    found: dict[str, str] = {}
    problems: list[str] = []
    for trunk in trunks:
        for address in addresses.get(trunk.name, ()):
            first = found.setdefault(address, trunk.name)
            if first != trunk.name:
                problems.append(f"trunks {first} and {trunk.name} are both at {address}")
    return found, problems


async def _look_up(name: str) -> tuple[str, ...]:
    """The addresses, IPv4 first, in canonical form. Raises OSError."""
    if _is_address(name):
        return (str(ipaddress.ip_address(name)),)
    rows = await trio.socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    found = {str(ipaddress.ip_address(str(row[4][0]))) for row in rows}
    return tuple(sorted(found, key=_ipv4_first))


def _ipv4_first(address: str) -> tuple[bool, str]:
    return ":" in address, address


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

"""Where a SIP host's service is: NAPTR apart, RFC 3263 section 4.2, with SRV records (RFC 2782)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

import msgspec

from services.core.configuration import Transport

NAMES: dict[Transport, str] = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}


class Target(msgspec.Struct, frozen=True, order=True):
    """One SRV record: a lower priority first; of one priority, more often those of more weight."""

    priority: int
    weight: int
    port: int
    host: str


def name(host: str, transport: Transport) -> str:
    """The name that SRV records are asked for."""
    return f"{NAMES[transport]}.{host.rstrip('.')}"


def order(
    targets: Iterable[Target],
    choose: Callable[[int], int] = lambda top: random.randint(0, top),  # noqa: S311 - balance, no secret
) -> list[Target]:
    """The order in which to try them (RFC 2782). ``choose`` gives a number from 0 to ``top``.

    A single record whose target is the root says that there is no such service: it is left out.
    """
    found: list[Target] = []
    waiting = sorted(one for one in targets if one.host.rstrip("."))
    while waiting:
        # Those without weight stand first, so that they have a small chance too.
        first = [one for one in waiting if one.priority == waiting[0].priority]
        one = _weighted(first, choose)
        found.append(one)
        waiting.remove(one)
    return found


def _weighted(targets: Sequence[Target], choose: Callable[[int], int]) -> Target:
    mark = choose(sum(one.weight for one in targets))
    for one in targets:
        mark -= one.weight
        if mark <= 0:
            return one
    return targets[-1]

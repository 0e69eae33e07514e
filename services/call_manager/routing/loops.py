"""Loop detection and Max-Breadth for a proxy that forks (RFC 5393, RFC 3261 16.3 and 16.6).

A request is marked in the Via that we add, by what decides where it goes. If it comes back with
the same mark it will go the same way again: a loop. A spiral, the same call with another
Request-URI (a forward, a ring group), has another mark and passes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from services.call_manager.routing.guard import Refusal

PARAMETER = "lp"
"""The Via parameter that holds the mark."""

MAX_BREADTH = 60
"""What a request without Max-Breadth has (RFC 5393 5.3.3)."""

MAX_BRANCHES = 30
"""What kamailio.cfg allows, ``max_branches``."""

LOOP = Refusal(482, "Loop Detected")
BREADTH = Refusal(440, "Max-Breadth Exceeded")


class Route(msgspec.Struct, frozen=True, gc=False):
    """What decides where a request goes, as received (RFC 5393 4.2.1)."""

    ruri: str
    call_id: str
    from_tag: str
    to_tag: str
    cseq: str
    routes: Sequence[str] = ()
    proxy_require: str = ""
    proxy_authorization: str = ""


class Marks:
    """Makes marks with a key of the cluster's, so that nobody else can make a request a loop."""

    def __init__(self, cluster_key: bytes) -> None:
        self._mac = hashlib.blake2s(digest_size=8, key=cluster_key[:32], person=b"loop")

    def make(self, route: Route) -> str:
        """The mark, 16 hex digits."""
        mac = self._mac.copy()
        mac.update(
            "\n".join(
                (
                    route.ruri,
                    route.call_id,
                    route.from_tag,
                    route.to_tag,
                    route.cseq,
                    route.proxy_require,
                    route.proxy_authorization,
                    *route.routes,
                )
            ).encode(errors="replace")
        )
        return mac.hexdigest()


def is_loop(vias: str, mark: str) -> bool:
    """Whether one of the Via header fields (any text that holds them all) has this mark.

    It is found wherever it stands: 64 bits that only we can make are in a Via by no accident.
    """
    return mark in vias


def breadth(value: str) -> int:
    """The request's Max-Breadth; what is absent or no number counts as `MAX_BREADTH`."""
    text = value.strip()
    if not text.isascii() or not text.isdigit():
        return MAX_BREADTH
    return min(int(text[:6]), MAX_BREADTH)


def share(available: int) -> int:
    """Max-Breadth for each branch of a request that has ``available`` (5.3.3.1).

    The sum over the branches that are up at once may not be more than what came in. How many there
    will be, the stages of a call still to come decide, so each gets what all of them could get.
    """
    return max(1, available // MAX_BRANCHES)


def is_too_broad(available: int, branches: int) -> bool:
    """Whether ``branches`` at once are more than the request allows: answer 440 (5.3.3.2)."""
    return branches > available

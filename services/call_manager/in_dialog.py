"""How a request of this PBX reaches a party of an answered call, as if the other party had sent it.

Pure. It goes to our own Kamailio, which carries it as it carries what phones send: to where a phone
really is, behind a NAT or on its TLS or WebSocket connection.
"""

from __future__ import annotations

import re

import msgspec

from services.call_manager.routing.route_signature import Side as Party
from services.core.events import Answered, Side

_ROUTE = re.compile(r"<([^<>]*)>[^,<>]*")
_RESTORED = re.compile(r";vs[ft]=[^;>]*")


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """The way to one party. ``uri`` is its signed target, ``other`` that of the party that seems to
    send, ``sender`` which of the two that is; ``headers`` are whole lines: Route to Call-ID."""

    uri: str
    other: str
    sender: Party
    headers: str


def legs(answered: Answered, here: str) -> tuple[Leg, Leg] | None:
    """To the caller and to the callee; None where the event does not say how they are reached.

    ``here`` is this PBX in a URI. It stands in From and To, where a user agent looks at the tags
    alone (RFC 3261 section 12): what each party was shown of the other is not told again.
    """
    caller, callee = answered.caller, answered.callee
    if caller is None or callee is None or not caller.target or not callee.target:
        return None
    # As in the request that the callee got: the proxy next to it first.
    routes = [match[1] for value in answered.routes for match in _ROUTE.finditer(value)]
    upstream = _beginning_here(routes)
    downstream = _beginning_here(routes[::-1])
    if not upstream:
        return None
    return (
        _leg(answered.call, caller, callee, upstream, here, "callee"),
        _leg(answered.call, callee, caller, downstream, here, "caller"),
    )


def address_in(value: str) -> str:
    """The URI of a Contact."""
    _, bracket, rest = value.partition("<")
    return rest.partition(">")[0] if bracket else value.partition(";")[0]


def _beginning_here(routes: list[str]) -> list[str]:
    """A route set without what stands before us in it."""
    for index, route in enumerate(routes):
        if ";ms=" in route and ";sg=" in route:
            return routes[index:]
    return []


def _leg(call: str, to: Side, other: Side, routes: list[str], here: str, sender: Party) -> Leg:
    # Without what restores the names that a leg was shown: it needs those names.
    path = "".join(f"Route: <{_RESTORED.sub('', route)}>\r\n" for route in routes)
    return Leg(
        uri=address_in(to.target),
        other=address_in(other.target),
        sender=sender,
        headers=f"{path}From: <sip:{here}>;tag={other.tag}\r\nTo: <sip:{here}>;tag={to.tag}\r\n"
        f"Call-ID: {call}\r\n",
    )

"""Which connection leads to a phone now (RFC 5626 section 5.3). Pure.

A phone on TCP, TLS or WebSocket is reached by the connection that it has made, and makes another
one when that is lost: at a take-over, or when its network changes. Its Contact in a dialog still
names the old one. The new one is found by its registration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from services.call_manager.routing.target_signature import Source, Target

Branch = tuple[str, str]
"""Request URI and next-hop URI, "" where the first one leads."""
NOBODY: Branch = ("sip:255.255.255.255", "")
"""A branch to it cannot be sent, and holds its number."""


STREAMS = frozenset(("tcp", "tls", "ws", "wss"))


class Flow(msgspec.Struct, frozen=True):
    """A binding: the Contact's URI, where it came from, and whether its connection lasts.

    ``registered`` is when it was last refreshed, Unix time in whole seconds; ``instance`` the user
    agent's own name (RFC 5626 section 4.1), "" where it has none; ``connection`` Kamailio's number
    of the connection, greater for a later one, 0 for another Call Manager's; ``unique`` the
    registrar's id of the binding.
    """

    contact: str
    received: str
    alive: bool
    registered: int = 0
    instance: str = ""
    connection: int = 0
    unique: str = ""


def current(flows: Sequence[Flow], away: float) -> list[Flow]:
    """The same, without life where a phone has another connection by now.

    ``away`` is the last time at which the VIP was not here. A connection that is older was not
    heard of since: the phone may have gone over to another Call Manager, of which nothing was said
    on it, and we hold it for open. Its later registrations tell: those at another Call Manager,
    whose connections are not ours, and those that came with the VIP's return. Without one the phone
    may not even have noticed, and the connection is as good as before.
    """

    left = int(away)

    def is_left(flow: Flow) -> bool:
        return flow.registered <= left and any(
            _is_same_phone(flow, other)
            and (
                # In the same second nobody knows which was first, but for connections of our own.
                other.connection > flow.connection and other.registered >= left
                if other.alive
                else other.registered > flow.registered
            )
            for other in flows
        )

    return [
        msgspec.structs.replace(flow, alive=False) if flow.alive and is_left(flow) else flow
        for flow in flows
    ]


def _is_same_phone(one: Flow, other: Flow) -> bool:
    if one.instance and other.instance:
        return one.instance == other.instance
    near = _place(one.received)[0] == _place(other.received)[0]
    return near and _name(one.contact) == _name(other.contact)


def missing(branches: Iterable[Branch], streams: Sequence[Flow]) -> list[Branch]:
    """Those of a stage's branches whose phones have no connection now, of ``streams``."""
    return [
        (uri, hop)
        for uri, hop in branches
        if _is_stream(hop) and choose(_target(uri, hop), streams) is None
    ]


def choose(target: Target, flows: Sequence[Flow]) -> str | None:
    """The URI to send to; None where the phone has no connection now.

    A user may have several phones: the same Contact but for its port tells them apart, or else the
    address that they come from, if only one comes from there. What has both in common is one phone
    that has left connections behind: the newest is its own.
    """
    source = target.source
    alive = [flow for flow in flows if flow.alive]
    for flow in alive:
        if _place(flow.received) == (source.address, str(source.port)):
            return flow.received
    same = [flow for flow in alive if _name(flow.contact) == _name(target.uri)]
    near = [flow for flow in alive if _place(flow.received)[0] == source.address]
    if both := [flow for flow in same if flow in near]:
        return max(both, key=lambda flow: (flow.registered, flow.connection)).received
    for found in (same, near):
        if len(found) == 1:
            return found[0].received
    return None


def arrange(
    first: int, stored: Sequence[Branch], here: Sequence[Branch], streams: Sequence[Flow]
) -> list[Branch]:
    """The branches of a call that is taken up, each with the number by which its phone knows it.

    ``stored`` are those that it had, numbered from ``first`` on, ``here`` those that there would be
    now, ``streams`` the phones' connections. A phone that has made a new one takes the number that
    it had with the old one. `NOBODY` fills the gaps.
    """
    dead = {flow.received for flow in streams if not flow.alive}
    left = [branch for branch in here if branch[1] not in dead]
    ordered: list[Branch] = [NOBODY] * first
    ordered += [branch if branch in left else NOBODY for branch in stored]
    left = [branch for branch in left if branch not in stored]
    registered = {flow.received: flow.registered for flow in streams}
    # The phone may have been rung by several bindings, all but the newest of which it had left.
    newest = sorted(range(len(stored)), key=lambda n: -registered.get(stored[n][1], -1))
    for number in newest:
        received = choose(_target(*stored[number]), streams)
        found = next((branch for branch in left if branch[1] == received), None)
        if ordered[first + number] == NOBODY and found is not None:
            ordered[first + number] = found
            left.remove(found)
    ordered += left
    return ordered + [NOBODY] * (len(here) - len(ordered))


def _target(uri: str, hop: str) -> Target:
    """The phone that a branch went to."""
    address, port = _place(hop)
    return Target(uri, Source(address, int(port or 0), "tcp"), "p")


def _is_stream(hop: str) -> bool:
    return hop.rpartition(";transport=")[2].partition(";")[0].lower() in STREAMS


def _name(uri: str) -> str:
    """User and host of a URI."""
    bare = uri.partition(";")[0].partition("?")[0]
    user, at, place = bare.partition("@")
    return f"{user}{at}{_split(place)[0]}".lower()


def place(uri: str) -> str:
    """``host:port`` of a URI, an IPv6 address in brackets."""
    host, port = _place(uri)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _place(uri: str) -> tuple[str, str]:
    """Host and port of a URI, the host without brackets."""
    place = uri.partition(";")[0].rpartition("@")[2].removeprefix("sips:").removeprefix("sip:")
    host, port = _split(place)
    return host.strip("[]"), port


def _split(place: str) -> tuple[str, str]:
    host, colon, port = place.rpartition(":")
    return (host, port) if colon and port.isdigit() else (place, "")

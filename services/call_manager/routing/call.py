"""What a call is made of between its stages: who pays, what is left to try, what is tried now."""

from __future__ import annotations

from typing import Literal

import msgspec

from services.core.configuration import Announcement, Destination, DestinationKind, Permission

Privacy = Literal["none", "id"]


class Authority(msgspec.Struct, frozen=True, array_like=True):
    """Who answers for a call and so decides where it may go: a user, or a tenant as a whole.

    ``extension`` is empty for the tenant itself: what its administrator has set up. ``number`` is
    what is shown outside.
    """

    tenant: str
    extension: str
    permission: Permission
    number: str


class Caller(msgspec.Struct, frozen=True, array_like=True):
    """Who calls, as others may see it.

    ``tenant`` and ``extension`` for a user, ``trunk`` for a call from outside; ``number`` is public
    (E.164 with plus where it is known).
    """

    tenant: str = ""
    extension: str = ""
    trunk: str = ""
    number: str = ""
    name: str = ""
    anonymous: bool = False


class Request(msgspec.Struct, frozen=True):
    """A new call as it came in.

    ``dialled`` is the user part of the request URI, ``host`` its host; ``replaces`` whether a
    Replaces header stands in it (RFC 3891); ``here`` whether the host is this Call Manager's.
    ``authority`` is None for a call from a trunk, ``onward`` for all but an application server's.
    """

    caller: Caller
    authority: Authority | None
    dialled: str
    host: str = ""
    here: bool = True
    replaces: bool = False
    onward: Onward | None = None


class Onward(msgspec.Struct, frozen=True):
    """What an application server says of a call that it makes for its caller.

    ``called`` is what that one called, ``hops`` how many such servers there were before,
    ``within`` the Call-ID of the caller's own call.
    """

    to: Destination
    called: str = ""
    hops: int = 0
    within: str = ""


class Ring(msgspec.Struct, frozen=True, array_like=True, tag="ring"):
    """Call every contact of these extensions, ``timeout`` seconds at most.

    ``follow``: what the one extension's forwards and redirections say counts. Inside a ring group
    it does not: one member's forward would take the call away from the others.
    """

    tenant: str
    extensions: tuple[str, ...]
    timeout: int
    follow: bool = False


class Dial(msgspec.Struct, frozen=True, array_like=True, tag="dial"):
    """Call out by the first of these trunks that takes it, each with its form of the number.

    ``shown`` is the asserted number; ``diverted`` the number that a forwarded call was meant for.
    """

    trunks: tuple[tuple[str, str], ...]
    number: str
    shown: str
    diverted: str = ""
    emergency: bool = False


class Announce(msgspec.Struct, frozen=True, array_like=True, tag="announce"):
    """Play an announcement as early media, then end with this status."""

    announcement: Announcement
    language: str
    code: int
    reason: str


class Serve(msgspec.Struct, frozen=True, array_like=True, tag="serve"):
    """Send the call to a server of ``role``, for a menu or a voicemail box of ``tenant``'s.

    ``called`` is what the caller has called; ``tried`` are servers that did not answer.
    """

    role: str
    tenant: str
    kind: DestinationKind
    target: str
    called: str = ""
    tried: tuple[str, ...] = ()


class Refuse(msgspec.Struct, frozen=True, array_like=True, tag="refuse"):
    """End the call with this status."""

    code: int
    reason: str


Action = Ring | Dial | Announce | Serve | Refuse


class Goto(msgspec.Struct, frozen=True, array_like=True, tag="goto"):
    """A destination still to be looked at; ``dialled`` is as a user dials, others as configured."""

    kind: Literal[DestinationKind, "dialled"]
    target: str
    authority: Authority
    diverted: str = ""


class Progress(msgspec.Struct, array_like=True):
    """A call between its stages; travels with the transaction as JSON.

    ``until`` is the Unix time by which it must have been answered. ``seen`` keeps it from going
    round in circles, ``steps`` counts what was looked at, ``hops`` application servers before.
    ``plain``: who calls wants the status and no announcement. ``compatible``: phones are asked once
    more, in the plainest form, ``merged`` times in vain so far (`stages.ask_again`).
    """

    caller: Caller
    until: float
    pending: list[Goto | Ring | Dial | Announce | Serve]
    current: Action | None = None
    seen: list[str] = []
    steps: int = 0
    code: int = 404
    reason: str = "Not Found"
    emergency: bool = False
    announced: bool = False
    compatible: bool = False
    callee: str = ""
    hops: int = 0
    plain: bool = False
    merged: int = 0


OutcomeKind = Literal[
    "unregistered", "busy", "declined", "no-answer", "unavailable", "redirected", "failed", "full"
]


class Outcome(msgspec.Struct, frozen=True):
    """How a stage ended without an answer. ``contacts`` are a 3xx's users and hosts, best first.

    ``full``: a limit on simultaneous calls kept it from being tried at all. ``via`` is the
    application server that was asked.
    """

    kind: OutcomeKind
    code: int
    reason: str
    contacts: tuple[tuple[str, str], ...] = ()
    via: str = ""

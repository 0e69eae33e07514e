"""Call events: what a call's path through the Call Manager is told in.

A call has one `Started`, at most one `Answered` and one `Ended`. They may stand in different files
of the spool, because a call's messages are handled by different workers, so a reader may meet them
in any order; `time` says the true one. ``id`` is unique, so that twice is once.

Where there are several Call Managers a call may be answered or ended at another one than it started
at. `Ringing` lets the next one go on with a call that nobody has answered yet, and an end has the
same ``id`` whoever tells it (`end_id`), so that there is one record of a call.
"""

from __future__ import annotations

import os
import time
from hashlib import blake2s
from typing import Literal

import msgspec

Direction = Literal["internal", "inbound", "outbound"]
Party = Literal["caller", "callee", "system"]


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """What the media server measured. ``mos`` is 1 to 5, ``loss`` percent, ``jitter`` ms."""

    mos: float
    loss: float
    jitter: float


class CallEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``call`` is the Call-ID, ``time`` a Unix time, ``server`` the Call Manager that saw it.

    ``term`` names the time for which that one has held the VIP; "" on one machine.
    """

    id: str
    call: str
    time: float
    server: str
    tenant: str
    term: str = ""


class Started(CallEvent, frozen=True, kw_only=True, tag_field="kind", tag="started"):
    """The first INVITE was accepted for routing.

    ``caller`` and ``callee`` are an extension or an E.164 number, ``trunk`` the trunk it came from
    or goes to, ``media`` the media server's name; empty where there is none. ``tag`` is the From
    tag of the caller and ``cseq`` the INVITE's number; ``held`` are the counters that it holds.
    ``within`` is the Call-ID of the call that an application server makes this one for.
    """

    direction: Direction
    caller: str
    callee: str
    trunk: str = ""
    media: str = ""
    tag: str = ""
    cseq: str = ""
    held: tuple[str, ...] = ()
    within: str = ""


class Ringing(CallEvent, frozen=True, kw_only=True, tag_field="kind", tag="ringing"):
    """A stage of a call is on its way: phones ring, or a trunk was dialled. Clusters only.

    With it another Call Manager goes on where this one has stopped. ``invite`` is the INVITE as it
    came, ``source`` whence (``udp:192.0.2.1:5060``); ``progress`` and ``record`` are routing's own,
    in JSON. ``first`` is the number of the stage's first branch, ``branches`` are the request and
    next-hop URIs of all of them in order. ``until`` is the Unix time at which the stage gives up.
    """

    invite: str
    source: str
    progress: str
    record: str
    first: int
    branches: tuple[tuple[str, str], ...]
    until: float
    held: tuple[str, ...] = ()


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One party of an answered call: its tag and its Contact, as the other party has it."""

    tag: str
    target: str


class Answered(CallEvent, frozen=True, kw_only=True, tag_field="kind", tag="answered"):
    """A 2xx went back to the caller.

    ``by`` is the extension or number that answered, ``media`` the media server that the call is on
    from now on, ``held`` the counters that it holds. ``kinds`` are the kinds of media of caller and
    callee, ``p``, ``s`` or ``w``, then ``t`` if it is transcoded and ``r`` if it is recorded;
    ``mid`` is what a caller on WebRTC calls its stream.
    ``caller``, ``callee`` and ``routes`` (the Record-Route of the answer) are what it takes to send
    a request inside the dialog; ``payer`` and ``peer`` are their ``tenant/extension``, empty for
    trunks.
    """

    by: str = ""
    media: str = ""
    kinds: str = ""
    mid: str = ""
    held: tuple[str, ...] = ()
    caller: Side | None = None
    callee: Side | None = None
    routes: tuple[str, ...] = ()
    payer: str = ""
    peer: str = ""


class Moved(CallEvent, frozen=True, kw_only=True, tag_field="kind", tag="moved"):
    """The media of an answered call are led anew for the ``turn``-th time, at ``media``.

    Told before the first party hears of it, and again, ``done``, when both have agreed; ``caller``
    and ``callee`` are then as in `Answered`, with targets that say so too.
    """

    media: str
    turn: int
    done: bool = False
    caller: Side | None = None
    callee: Side | None = None


class Ended(CallEvent, frozen=True, kw_only=True, tag_field="kind", tag="ended"):
    """The call is over, answered or not.

    ``code`` is the final SIP status (200 for an answered call), ``reason`` a word or phrase for
    people, ``by`` who ended it, ``duration`` seconds from answer to end.
    """

    code: int
    reason: str
    by: Party
    answered: bool
    duration: float = 0.0
    quality: Quality | None = None


Event = Started | Ringing | Answered | Moved | Ended


def end_id(call: str, tag: str, cseq: str = "") -> str:
    """The id of a call's `Ended`: 32 hex digits, the same at every Call Manager.

    ``tag`` is the caller's. ``cseq`` is the INVITE's number for a call that nobody answered, which
    may be tried again with the same tag, and "" for one that was: its dialog is the only one
    (RFC 3261 section 12).
    """
    return blake2s("\0".join((call, tag, cseq)).encode(), digest_size=16).hexdigest()


def new_id() -> str:
    """A new event's id: 32 hex digits that sort by time of making; safe in forked processes."""
    return f"{time.time_ns() // 1000:014x}{os.urandom(9).hex()}"

"""What is to be done about calls when the VIP comes here or goes. Pure.

A call is ours while its last stage began here, in the current term (`Call.owner`) or before the
agent could name one: then Kamailio has counted it and has its dialog. Any other one is somewhere
else, as seen from Kamailio.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from services.call_manager.calls import Call
from services.call_manager.routing.restoration import Restoration, message

Owner = tuple[str, str]
"""A Call Manager and its term."""
TOO_LATE = 40.0
"""Seconds past its end at which a stage is not taken up: a caller's INVITE is over by itself 32 s
after the last that he heard (RFC 3261 section 17.1.1.2, timer B)."""


def is_own(call: Call, own: Owner | None) -> bool:
    """``own`` is None where this one does not hold the VIP."""
    server, term = call.owner
    return own is not None and server == own[0] and term in ("", own[1])


def counted_elsewhere(
    calls: Iterable[Call], own: Owner | None, restoring: Collection[str]
) -> dict[str, int]:
    """Hash table ``elsewhere``: what calls hold that Kamailio has not counted itself.

    Calls in ``restoring`` are being taken up, and are counted as they are.
    """
    found: Counter[str] = Counter()
    for call in calls:
        if not is_own(call, own) and call.started.call not in restoring:
            found.update(call.held)
    return dict(found)


def parties(calls: Iterable[Call], own: Owner | None) -> dict[str, str]:
    """Hash table ``parties``: who speaks in answered calls whose dialogs Kamailio does not have."""
    return {
        call.started.call: f"{call.answered.payer}|{call.answered.peer}"
        for call in calls
        if call.answered is not None
        and not is_own(call, own)
        and (call.answered.payer or call.answered.peer)
    }


def anchors(calls: Iterable[Call]) -> dict[str, str]:
    """Hash table ``anchors``: where calls with carriers are whose media were led anew."""
    return {
        call.started.call: anchor_of(call.moved.turn, call.moved.media)
        for call in calls
        if call.moved is not None and call.started.trunk
    }


def anchor_of(turn: int, media: str) -> str:
    """An entry of hash table ``anchors``."""
    return f"{turn} {media}"


def to_restore(calls: Iterable[Call], own: Owner, now: float) -> list[Call]:
    """Calls that rang at another Call Manager, the oldest first."""
    found = [
        call
        for call in calls
        if call.answered is None
        and call.ringing is not None
        and call.ringing.invite
        and not is_own(call, own)
        and call.ringing.until > now - TOO_LATE
    ]
    return sorted(found, key=lambda call: call.started.time)


def restoration(key: bytes, call: Call) -> bytes | None:
    """What Kamailio is sent to take up a call that rings; None where that cannot be."""
    stage = call.ringing
    if stage is None:
        return None
    return message(
        key,
        stage.invite,
        Restoration(
            stage.call,
            stage.source,
            stage.progress,
            stage.record,
            stage.first,
            stage.branches,
            stage.until,
        ),
    )


def left(calls: Iterable[Call], server: str, term: str) -> list[str]:
    """Calls of a term of ours that is over: their dialogs here are leftovers."""
    return [call.started.call for call in calls if is_own(call, (server, term))]

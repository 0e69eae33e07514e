"""CSeq numbers of a dialog in which this PBX has sent a re-INVITE of its own. Pure.

Each party of a dialog numbers its requests, and the other one takes none whose number is lower than
one that it has had (RFC 3261 section 12.2.2). A re-INVITE as if from a party uses up a number that
the party does not know of: from then on its own are raised by as much on their way, and lowered in
the responses. How much follows from the call's turn alone (`target_signature.Anchor`), so that
every Call Manager does the same with no table.
"""

from __future__ import annotations

import re

from services.call_manager.routing.route_signature import Side

LARGEST = 2**31 - 1
"""RFC 3261 section 8.1.1.5."""
STRIDE: dict[Side, int] = {"caller": 2**20, "callee": 2**28}
"""By how much a turn raises a party's numbers. The caller's first one is known, and none sends a
million requests in a call. What a callee begins with is not told before he sends one: some begin
with the time (up to 2**27)."""
TURNS = 6
"""Turns for which there are numbers left."""
SPARE = 1000
"""Numbers between two turns that are for requests of this PBX."""

_RACK = re.compile(r"\s*([0-9]{1,10})\s+([0-9]{1,10})(\s+\S+\s*)")
_REFER = re.compile(r"(refer\s*;(?:[^,]*;)?\s*id\s*=\s*)([0-9]{1,10})(.*)", re.IGNORECASE)


def shift(side: Side, turn: int) -> int:
    """How much is added to the numbers of a party's requests."""
    return STRIDE[side] * turn


def raised(number: int, by: int) -> int:
    """A request's number as the other party gets it."""
    return min(number + by, LARGEST)


def ours(side: Side, turn: int, first: int, attempt: int) -> int | None:
    """The number of this PBX's request as if from a party, whose dialog began with ``first``.

    Above all that the party has sent before, and below all that it will send in this turn; each
    attempt has one of its own. None where there is none left.
    """
    number = first + shift(side, turn) - SPARE + attempt
    return number if attempt < SPARE and number < LARGEST - STRIDE["caller"] else None


def rack(value: str, by: int) -> str:
    """A PRACK's RAck, which repeats the number of its INVITE (RFC 3262 section 7.2)."""
    found = _RACK.fullmatch(value)
    return value if found is None else f"{found[1]} {raised(int(found[2]), by)}{found[3]}"


def event(value: str, by: int) -> str:
    """An Event whose id is the number of a REFER (RFC 3515 section 2.4.6); ``by`` may be negative.

    One of a REFER that was sent before the turn stays as it is.
    """
    found = _REFER.fullmatch(value.strip())
    if found is None:
        return value
    number = int(found[2]) + by
    return f"{found[1]}{number}{found[3]}" if 0 <= number <= LARGEST else value

"""Calls whose media are led anew by re-INVITEs of the agent's, over KSR (docs/decisions/0010).

The agent has dealt with the media server: what it sends goes on as it is, and so do the answers to
it. ``X-PBX-Anchor`` marks its INVITEs and ACKs. From then on both parties' requests say by their
target which turn of the call they are of, and are numbered accordingly (sequence.py). For carriers
whose equipment drops what it does not know, the agent says it in hash table ``anchors``.
"""

from __future__ import annotations

import KSR

from services.call_manager.routing import kamailio_cluster as cluster
from services.call_manager.routing import sequence
from services.call_manager.routing.identity import ANCHOR
from services.call_manager.routing.route_signature import Side
from services.call_manager.routing.target_signature import AS_SET_UP, Anchor


def is_agents() -> bool:
    """Whether an agent has sent the current request, to lead media anew."""
    return KSR.hdr.is_present(ANCHOR) > 0 and cluster.is_agent()


def told(call_id: str) -> Anchor:
    """Where a call is anchored whose request does not say it."""
    turn, _, server = str(KSR.htable.sht_get("anchors", call_id) or "").partition(" ")
    return Anchor(int(turn), server) if turn else AS_SET_UP


def note(anchor: Anchor) -> None:
    """Keep for the reply where the request's call is anchored."""
    KSR.pv.sets("$avp(anchor)", f"{anchor.turn} {anchor.media}")


def noted() -> Anchor:
    """What `note` has kept."""
    turn, _, server = (KSR.pv.gete("$avp(anchor)") or "0").partition(" ")
    return Anchor(int(turn), server) if server else AS_SET_UP


def renumber(method: str, side: Side, turn: int) -> None:
    """Number a party's request as the other party has to get it."""
    number, by = int(KSR.pv.get("$cs") or 0), sequence.shift(side, turn)
    _replace("CSeq", f"{sequence.raised(number, by)} {method}")
    if method != "ACK":
        KSR.pv.sets("$avp(cseq)", str(number))
    if method == "PRACK":
        _replace("RAck", sequence.rack(KSR.hdr.gete("RAck"), by))
    elif method == "SUBSCRIBE":
        _replace("Event", sequence.event(KSR.hdr.gete("Event"), by))
    elif method == "NOTIFY":
        # It is the other party that has referred.
        other: Side = "callee" if side == "caller" else "caller"
        by = sequence.shift(other, turn)
        _replace("Event", sequence.event(KSR.hdr.gete("Event"), -by))


def number_back() -> None:
    """Give a reply the number that its request came with."""
    number = KSR.pv.get("$avp(cseq)")
    if number is not None:
        _replace("CSeq", f"{number} {KSR.pv.gete('$rm')}")


def _replace(name: str, value: str) -> None:
    if value:
        KSR.hdr.remove(name)
        KSR.hdr.append(f"{name}: {value}\r\n")

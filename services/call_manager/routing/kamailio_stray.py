"""Answers to an INVITE whose transaction was at another Call Manager, over KSR.

A call may have been answered there just before its end, with the ACK lost on the way: the callee
says 2xx again until it hears one (RFC 3261 section 13.3.1.4). Such an answer is passed on without
state, by Via, after what every answer gets. Only of calls that the agent knows to be answered, soon
after a take-over: anything else would lead whatever anybody sends to where he says.
"""

from __future__ import annotations

import re

import KSR

from services.call_manager.routing import kamailio_cluster as cluster
from services.call_manager.routing import kamailio_dialogs as dialogs
from services.call_manager.routing import kamailio_media as media
from services.call_manager.routing import media_profile as profile
from services.call_manager.routing import route_signature as signature
from services.call_manager.routing.kamailio_request import values
from services.call_manager.routing.worker import key, tables

_BRANCH = re.compile(r";branch=z9hG4bK[0-9a-f]+\.[0-9a-f]+\.([0-9a-f]+)", re.IGNORECASE)


def passes() -> bool:
    """Whether a reply without a transaction may go on; it is made ready for that."""
    if not cluster.SEVERAL or not 200 <= int(KSR.pv.get("$rs") or 0) < 300:
        return False
    if KSR.is_method("INVITE") <= 0 or not cluster.is_recent():
        return False
    call_id = KSR.pv.gete("$ci")
    if cluster.parties(call_id) == ("", ""):
        return False
    tables.refresh()
    tags = KSR.pv.gete("$ft"), KSR.pv.gete("$tt")
    for value in values("Record-Route"):
        route = signature.read_route(value)
        if route is not None and signature.verify_route(key, route, call_id, *tags) == "caller":
            return _make_ready(route.media, route.kinds)
    return False


def _make_ready(server: str, kinds: str) -> bool:
    dialogs.strip_claims()
    dialogs.sign_contact()
    sdp = KSR.pv.get("$rb")
    if not server or not isinstance(sdp, str) or "m=" not in sdp:
        return True
    back = dialogs.kind(kinds[:1])
    if dialogs.LATE in kinds[2:]:
        try:
            return media.offer_at(server, profile.offer(back, sdp))
        except media.RejectedError:
            return False
    branch = _BRANCH.search(KSR.pv.gete("$hdr(Via)"))
    return branch is not None and media.answer(
        server, profile.answer(back), f"b{int(branch[1], 16)}"
    )

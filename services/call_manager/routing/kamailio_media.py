"""rtpengine over KSR: anchors offers and answers, forgets calls. What it is told: media_profile.py.

A server that does not answer is put into the hash table ``media_out`` at once, so that no other
worker waits for it, and the next one is tried in the same request. SDP that no server has anchored
goes nowhere: its media would go past us, and what phones tell of themselves is rarely reachable.
"""

from __future__ import annotations

from collections.abc import Callable

import KSR

from services.call_manager.routing import dropping
from services.call_manager.routing import kamailio_cluster as cluster
from services.call_manager.routing import media_profile as profile
from services.call_manager.routing.route_signature import media_of
from services.call_manager.routing.server_choice import choose
from services.call_manager.routing.worker import tables
from services.core.events import Quality

OUT = "media_out"
ANY = "*"
"""Key in it: some server is out. No server has this name."""
PROBE = "call-id=probe from-tag=probe"


def load(server: str) -> int:
    """Calls on a server, those of another's that it has taken over among them."""
    found = cluster.counted(f"m:{server}")
    for other in tables.media.values():
        if other.by == server and other.name != server:
            found += cluster.counted(f"m:{other.name}")
    return found


def carrier(server: str) -> str:
    """The server that has a server's calls now."""
    found = tables.media.get(server)
    return server if found is None else found.carrier


def is_out(server: str) -> bool:
    return KSR.htable.sht_get(OUT, carrier(server)) is not None


def pick() -> str:
    """The server for a new call, or ""."""
    server = choose(tables.media.values(), load, is_out)
    return server.name if server is not None else ""


def select(server: str) -> bool:
    """Whether rtpengine commands now go to this server."""
    found = tables.media.get(server)
    return found is not None and KSR.rtpengine.set_rtpengine_set(found.set) > 0


class RejectedError(Exception):
    """The media server is there and does not like the SDP."""


def offer(server: str, flags: str, branch: str = "") -> str:
    """Anchor the message's SDP as an offer; the server that has it, or "" if there is none.

    ``branch`` keeps the branches of a forked call apart. Raises `RejectedError`.
    """
    if branch:
        KSR.pv.sets("$avp(media_branch)", branch)
        flags += " via-branch=extra"
    for _ in range(len(tables.media) + 1):
        if not server:
            return ""
        if _ask(server, KSR.rtpengine.rtpengine_offer, flags):
            return server
        server = pick()
    return ""


def offer_at(server: str, flags: str) -> bool:
    """Anchor an offer inside a dialog, at the server that has the call. Raises `RejectedError`."""
    return not is_out(server) and _ask(server, KSR.rtpengine.rtpengine_offer, flags)


def answer(server: str, flags: str, branch: str = "") -> bool:
    """Anchor the message's SDP as an answer; False: it could not be, and must not go on so."""
    if is_out(server):
        return False
    if branch:
        KSR.pv.sets("$avp(media_branch)", branch)
        flags += " via-branch=extra"
    try:
        return _ask(server, KSR.rtpengine.rtpengine_answer, flags)
    except RejectedError:
        return False


def withhold(sdp: str) -> None:
    """Let a reply go on without its SDP, which could not be anchored."""
    if int(KSR.pv.get("$rs") or 0) >= 200:
        KSR.textops.set_body(profile.without_media(sdp), "application/sdp")
    elif "100rel" in KSR.hdr.gete("Require"):
        # It is said again until it is acknowledged (RFC 3262 section 3).
        dropping.drop()
    else:
        KSR.textopsx.remove_body()
        KSR.hdr.remove("Content-Type")


def must_wait() -> bool:
    """Whether a reply is a callee's 2xx whose media server is out just now; it must be dropped.

    The callee says it again until the ACK comes (RFC 3261 section 13.3.1.4), so the call is only a
    little late. A transaction that has seen a 2xx cannot hold it back.
    """
    if KSR.htable.sht_get(OUT, ANY) is None or KSR.pv.get("$rm") != "INVITE":
        return False
    if not 200 <= int(KSR.pv.get("$rs") or 0) < 300:
        return False
    server = media_of(KSR.pv.gete("$(hdr(Record-Route)[*])"))
    return server != "" and is_out(server)


def forget(server: str, call_id: str, tag: str) -> Quality | None:
    """End a call at a server, and say how it sounded; None where nothing was measured."""
    if not server or is_out(server) or not select(server):
        return None
    if KSR.rtpengine.rtpengine_delete(f"call-id={call_id} from-tag={tag}") < 0:
        return None
    mos = _number("mos")
    if not mos:
        return None
    return Quality(mos=mos, loss=_number("loss"), jitter=_number("jitter"))


def _number(name: str) -> float:
    value = KSR.pv.get(f"$avp({name})")
    try:
        return round(float(value), 2) if value is not None else 0.0
    except ValueError:
        return 0.0


def _ask(server: str, command: Callable[[str], int], flags: str) -> bool:
    """Have a server anchor the message's SDP; False: it does not answer, and is out.

    Asked again if it is there after all: it was slow, as on a host that stalls, or it refuses what
    a phone has sent, which harms no server. Raises `RejectedError`.
    """
    for _ in range(2):
        if select(server) and command(flags) > 0:
            return True
        if is_out(server) or not select(server) or KSR.rtpengine.rtpengine_delete(PROBE) <= 0:
            KSR.htable.sht_sets(OUT, carrier(server), "1")
            KSR.htable.sht_sets(OUT, ANY, "1")
            KSR.warn(f"media server {server} does not answer; new calls use others\n")
            return False
    raise RejectedError(server)

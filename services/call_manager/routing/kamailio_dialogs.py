"""Requests inside a dialog, over KSR: only with our signature, to where their route set leads.

The Record-Route that this proxy gave says which media server the call is on, signed
(route_signature.py), and the other party's Contact says where it may go, signed too
(target_signature.py), so that any Call Manager can carry the request with no table at all.
"""

from __future__ import annotations

import KSR

from services.call_manager.routing import kamailio_anchor as anchoring
from services.call_manager.routing import kamailio_cluster as cluster
from services.call_manager.routing import kamailio_events as events
from services.call_manager.routing import kamailio_flows as flows
from services.call_manager.routing import kamailio_heirs as heirs
from services.call_manager.routing import kamailio_media as media
from services.call_manager.routing import media_profile as profile
from services.call_manager.routing import route_signature as signature
from services.call_manager.routing import target_signature as targets
from services.call_manager.routing.identity import STRIPPED
from services.call_manager.routing.route_signature import RouteParameters, Side
from services.call_manager.routing.target_signature import AS_SET_UP, Anchor, Target
from services.call_manager.routing.worker import key, now, tables

OFFERED = 10
"""Message flag: the request carried an offer, so SDP in its reply is the answer (RFC 3264)."""
TARGET_REFRESH = frozenset(("INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"))
LATE = "l"
"""Third letter of ``mk``: the INVITE had no SDP, so a PRACK's is an answer (RFC 3262 section 5)."""


_CLAIMS = "$_s(" + "".join(f"$hdrc({name})" for name in STRIPPED) + ")"
_NONE = "0" * len(STRIPPED)


def strip_claims() -> None:
    """Remove what a phone claims of its caller. By name: a pattern is compiled at each use."""
    if KSR.pv.get(_CLAIMS) == _NONE:
        return
    for name in STRIPPED:
        KSR.hdr.remove(name)


_ORIGIN = "$_s($si\n$sp\n$pr\n$ci)"


def sign_contact(party: str = "", anchor: Anchor = AS_SET_UP) -> str:
    """Let the other party's requests in this dialog reach who sent this message, and only him.

    The Contact as it now is; "" where there is none that can be one. As what ``party`` (caller or
    callee) said of itself it is also remembered in the dialog, for routes.cfg.
    """
    contact = KSR.pv.get("$ct")
    if not isinstance(contact, str):
        return ""
    address, port, transport, call_id = KSR.pv.gete(_ORIGIN).split("\n", 3)
    # A URI says "ws" for both kinds of WebSocket (RFC 7118 section 5.1).
    source = targets.Source(address, int(port), transport.lower().replace("wss", "ws"))
    kind = "p" if tables.trunk_of(address) is None else "t"
    signed = targets.sign_contact(key, call_id, contact, source, kind, anchor)
    if signed is None:
        return ""
    KSR.hdr.remove("Contact")
    KSR.hdr.append(f"Contact: {signed.value}\r\n")
    # An application server's requests may have to go elsewhere (kamailio_heirs.py).
    if party and signed.short_cut and tables.app_at(source.address, source.port) is None:
        KSR.dialog.var_sets(party, signed.short_cut)
    return signed.value


def request(method: str) -> None:
    route = signature.read_route(KSR.hdr.gete("Route"))
    call_id, from_tag, to_tag = KSR.pv.gete("$ci"), KSR.pv.gete("$ft"), KSR.pv.gete("$tt")
    side = route and signature.verify_route(key, route, call_id, from_tag, to_tag)
    if route is None or side is None:
        _stranger(method, signed=route is not None)
        return
    target = targets.read_target(key, call_id, KSR.pv.gete("$ru"))
    hop = _flow(target, side)
    if hop is None and method not in ("ACK", "PRACK") and flows.wait("ksr_dialog_again"):
        return
    # Before the dialog hears of a BYE, and forgets whose call this is a part of.
    heir = heirs.hop(target) if target is not None else ""
    if KSR.maxfwd.process_maxfwd(70) < 0:
        if method != "ACK":
            KSR.sl.send_reply(483, "Too Many Hops")
        return
    if KSR.rr.loose_route() < 0:
        if method != "ACK":
            KSR.sl.send_reply(403, "Route Does Not Lead Here")
        return
    # A strict router's Request-URI is ours, and the target its last Route.
    target = target or targets.read_target(key, call_id, KSR.pv.gete("$ru"))
    if not _aim(target, hop or heir):
        if method != "ACK":
            KSR.sl.send_reply(403, "Target Is Not of This Dialog")
        return
    anchor = target.anchor if target is not None else anchoring.told(call_id)
    if anchor.turn:
        route = RouteParameters(anchor.media, route.kinds, route.signature)
    if method == "BYE" and not events.is_known():
        # Set up by another Call Manager, or before a restart: nothing else frees its media or tells
        # its end.
        tag = from_tag if side == "caller" else to_tag
        events.ended_unknown(call_id, tag, side, media.forget(route.media, call_id, tag))
    heirs.watch(target, method)
    _carry(method, route, side, anchor)


def _flow(target: Target | None, side: Side) -> str | None:
    """By which connection the other party is reached now; None: it has none, "": it needs none."""
    if target is None or target.source.transport not in flows.STREAMS:
        return ""
    caller, callee = _parties()
    return flows.to(target, callee if side == "caller" else caller)


def _parties() -> tuple[str, str]:
    """Caller and answering side as ``tenant/extension``, "" for trunks."""
    record = events.load()
    if record is None:
        return cluster.parties(KSR.pv.gete("$ci"))
    return record.payer, record.peer


def _aim(target: Target | None, flow: str) -> bool:
    """Send the request to the other party; False where its target is anybody else's."""
    if target is None:
        # Some carriers' equipment drops parameters that it does not know. A carrier has proved by
        # its address who it is, and gains nothing by calling others through us.
        return tables.trunk_of(KSR.pv.gete("$si")) is not None
    hop = flow or targets.next_hop(target, KSR.pv.gete("$du"))
    KSR.seturi(target.uri)
    if hop:
        KSR.setdsturi(hop)
    return True


def _carry(method: str, route: RouteParameters, side: Side, anchor: Anchor) -> None:
    ours = method in ("INVITE", "ACK") and anchoring.is_agents()
    strip_claims()
    # The agent has signed what it says, and numbered it.
    if method in TARGET_REFRESH and not ours:
        sign_contact(anchor=anchor)
    if method == "INVITE":
        heirs.adopted()
    if method == "REFER":
        _sign_referral(side)
    if anchor.turn:
        anchoring.note(anchor)
        if not ours:
            anchoring.renumber(method, side, anchor.turn)
        if method != "ACK":
            KSR.tm.t_on_reply("ksr_dialog_reply")
    if ours:
        (events.moved if method == "ACK" else events.move)(route.media)
    elif not _anchor(method, route, side):
        return
    if KSR.tm.t_relay() < 0 and method != "ACK":
        KSR.sl.sl_reply_error()


def _anchor(method: str, route: RouteParameters, side: Side) -> bool:
    """Take SDP through the media server that the call is on; False: answered with an error."""
    if method not in ("INVITE", "UPDATE", "PRACK", "ACK") or not route.media:
        return True
    own, other = route.kinds[:1], route.kinds[1:2]
    if side == "callee":
        own, other = other, own
    sdp = KSR.pv.get("$rb")
    if isinstance(sdp, str) and "m=" in sdp:
        if method == "ACK" or (method == "PRACK" and LATE in route.kinds):
            if media.answer(route.media, profile.answer(kind(other))):
                return True
            if method == "PRACK":
                KSR.sl.send_reply(503, "Media Server Does Not Answer")
            # An ACK comes again with the next 2xx.
            return False
        try:
            anchored = media.offer_at(route.media, profile.reoffer(kind(other), sdp))
        except media.RejectedError:
            KSR.sl.send_reply(488, "Not Acceptable Here")
            return False
        if not anchored:
            KSR.sl.send_reply(503, "Media Server Does Not Answer")
            return False
        KSR.setflag(OFFERED)
    if method != "ACK":
        KSR.pv.sets("$avp(media)", route.media)
        KSR.pv.sets("$avp(back)", own)
        KSR.tm.t_on_reply("ksr_dialog_reply")
    return True


def reply() -> None:
    """A reply inside a dialog: an answer to an offer, or the offer of a late one."""
    strip_claims()
    anchor = anchoring.noted()
    anchoring.number_back()
    if int(KSR.pv.get("$rs") or 0) < 300 and KSR.is_method_in("IU") > 0:
        sign_contact(anchor=anchor)
    sdp = KSR.pv.get("$rb")
    server, back = KSR.pv.gete("$avp(media)"), kind(KSR.pv.gete("$avp(back)"))
    if not server or not isinstance(sdp, str) or "m=" not in sdp:
        return
    if KSR.isflagset(OFFERED) > 0:
        anchored = media.answer(server, profile.answer(back))
    else:
        try:
            anchored = media.offer_at(server, profile.reoffer(back, sdp))
        except media.RejectedError:
            anchored = False
    if not anchored:
        KSR.warn("SDP of a reply in a dialog could not be anchored, and does not go on\n")
        media.withhold(sdp)


def _sign_referral(side: Side) -> None:
    """Let the call that a REFER asks for go by the rights of who asks."""
    caller, callee = _parties()
    who = caller if side == "caller" else callee
    if not who:
        return
    tenant, _, extension = who.partition("/")
    signed = signature.sign_referral(key, KSR.hdr.gete("Refer-To"), tenant, extension, now())
    if signed is not None:
        KSR.hdr.remove("Refer-To")
        KSR.hdr.append(f"Refer-To: {signed}\r\n")


def _stranger(method: str, *, signed: bool) -> None:
    """No call of ours: an ACK of our own negative reply, or made up."""
    if method == "ACK":
        KSR.tm.t_check_trans()
    elif signed:
        KSR.sl.send_reply(403, "Route Signature Is Not Valid")
    else:
        KSR.sl.send_reply(481, "Call/Transaction Does Not Exist")


def kind(letter: str) -> profile.Kind:
    return letter if letter in ("s", "w") else "p"  # type: ignore[return-value]  # just tested

"""What stands before routing, over KSR: screening, authentication, registration, admission, loops.

The decisions are in digest.py, registration.py, guard.py, admission.py and loops.py; here they are
carried. What workers share is in hash tables declared in kamailio.cfg, "registration and abuse":

==============  ==================================================================================
``ipban``       source => why; nobody of it is heard. Expires by itself; the agent may set and rm
``authfail``    source => failed authentications within the window
``rate``        source => when its token bucket is full again; ``calls`` is that of all new calls
``nonces``      nonce => its last nonce count
``overload``    ``shed`` => per cent of new calls to refuse
==============  ==================================================================================

A source is `guard.source_key` of an address: an IPv4 address or an IPv6 /64.
"""

from __future__ import annotations

import KSR

from services.call_manager.routing import admission, guard, loops, receive_queue
from services.call_manager.routing import kamailio_cluster as cluster
from services.call_manager.routing.guard import Refusal
from services.call_manager.routing.kamailio_request import (
    NOT_UTF8,
    Head,
    counted,
    is_stream,
    policy,
    read_each,
    read_together,
    refuse,
    text,
)
from services.call_manager.routing.kamailio_users import authenticate, register
from services.call_manager.routing.worker import key, now, settings, tables

__all__ = [
    "admit",
    "authenticate",
    "is_too_broad",
    "looped",
    "mark",
    "register",
    "screen",
    "tick",
]

SANITY = 1 | 2 | 4 | 32 | 64 | 256 | 512 | 1024 | 4096
"""Version, scheme, required headers, CSeq method and value, Expires, Proxy-Require, URIs, tags
twice: the sanity module's bits. Credentials are digest.py's, Content-Length is `_length`."""
SANITY_URIS = 7

ONCE = (
    ("From", "froms"),
    ("To", "tos"),
    ("Call-ID", "call_ids"),
    ("CSeq", "cseqs"),
    ("Content-Length", "lengths"),
)
"""Header fields that come once at most (RFC 3261 7.3.1). With two, the next hop may read another
one than we did (RFC 4475 3.3.8, 3.3.9). Max-Forwards twice does not pass Kamailio's parser."""

LENGTH = Refusal(400, "Body Does Not Fit Content-Length")
HOPS = Refusal(483, "Too Many Hops")
MARKED = f";{loops.PARAMETER}="
"""Stands in a Via that some Call Manager has marked."""

SERVED = ("$stat(rcv_requests)", "$stat(rcv_replies)")

_marks = loops.Marks(key)
_backlog = admission.Backlog()


def screen() -> Head | None:
    """The head of a request that may go on; None: it was answered or dropped. Call it first.

    Also brings the tables up to date, and makes replies find their way back through a NAT.
    """
    policy.refresh()
    head = read_together()
    source = text("$si") if head is None else head.source
    # What application servers send was asked for, and is judged by its signature.
    port = str(KSR.pv.get("$sp")) if head is None else head.port
    ours = tables.app_at(source, port) is not None
    carrier = ours or tables.trunk_of(source) is not None
    if not carrier and not _within_limits(source, head):
        return None
    try:
        if head is None and KSR.pv.get("$hdrc(Via)"):
            head = read_each()
        if head is None or not int(head.vias or 0):
            # The parser gave up, and without it no answer can be made either.
            _drop()
            return None
        return head if _passes(head, carrier=carrier) else None
    except UnicodeDecodeError:
        if KSR.is_method("ACK") <= 0:
            refuse(NOT_UTF8)
        return None


def _passes(head: Head, *, carrier: bool) -> bool:
    ack = head.method == "ACK"
    # One look at all of it: what is read of the header later on is text, for sure.
    whole = text("$msg(fpart)")
    if not _length(head):
        return not ack and refuse(LENGTH)
    if guard.is_scanner(head.user_agent):
        return _drop()
    if not carrier and KSR.nathelper.nat_uac_test(2) > 0:
        # A Via that names another host than the packet's: a NAT, so the port is the NAT's too.
        KSR.force_rport()
    for name, field in ONCE:
        if int(getattr(head, field) or 0) > 1:
            return not ack and refuse(Refusal(400, f"More Than One {name}"))
    # Nothing answers an ACK; transactions and route sets judge it (RFC 3261 17.1.1.3).
    return ack or _well_formed(head, whole)


def _length(head: Head) -> bool:
    """Whether the body is all there; what follows it in a datagram is cut off (RFC 3261 18.3).

    Sent on over TCP, it would be the next message to whoever reads that stream.
    """
    if not head.actual:
        return False
    excess = int(head.actual) - int(head.declared) if head.declared else 0
    if excess > 0:
        message = text("$mb").encode()
        kept = message[: len(message) - excess].decode()
        if "\0" in kept:
            # KEMI cannot carry it.
            return False
        KSR.textopsx.msg_set_buffer(kept)
    return excess >= 0


def _well_formed(head: Head, whole: str) -> bool:
    message = guard.Message(
        # Empty if it cannot be parsed; what it says decides which answer it gets.
        head.ruri or guard.request_uri(whole),
        head.from_uri,
        head.to_uri,
        head.call_id,
        int(head.size or 0),
        whole,
    )
    refusal = guard.inspect(message, policy.security.max_message)
    if refusal is not None:
        return refuse(refusal)
    # The module answers itself, with what was wrong.
    return KSR.sanity.sanity_check(SANITY, SANITY_URIS) > 0


def _drop() -> bool:
    """Say nothing; a connection is closed, so that it holds no place."""
    if is_stream():
        KSR.tcpops.tcp_close_connection()
    return False


def _within_limits(address: str, head: Head | None) -> bool:
    """Bans and rates. Trusted networks, like carriers, are never banned or limited, nor are we:
    what the agent sends comes from our own address.
    """
    if address == settings.address or address in policy.trusted:
        return True
    source = guard.source_key(address)
    # Bans of IPv6 are by network.
    known = head is not None and source == address
    if head.banned if head and known else KSR.htable.sht_get("ipban", source) is not None:
        return _drop()
    return _spend(source)


def _spend(source: str) -> bool:
    """One token of the source's bucket, in a shared table: pike knows no burst and takes its limit
    only at start; pipelimit counts by its own timer. The lock makes read and write one step."""
    limit = policy.security.rate
    if limit.requests <= 0:
        return True
    moment = now()
    KSR.htable.sht_lock("rate", source)
    try:
        due = guard.rate_allows(float(KSR.htable.sht_get("rate", source) or 0), moment, limit)
        if due is None:
            return False
        KSR.htable.sht_setxs("rate", source, f"{due:.4f}", int(due - moment) + 2)
    finally:
        KSR.htable.sht_unlock("rate", source)
    return True


def admit(head: Head, *, emergency: bool = False) -> bool:
    """Whether a new call may start; if not it was answered 503 with Retry-After."""
    moment = now()
    rate = policy.security.rate.calls
    within = True
    if rate > 0 and not emergency:
        KSR.htable.sht_lock("rate", "calls")
        try:
            kept = KSR.htable.sht_get("rate", "calls")
            due = guard.meter(float(kept or 0), moment, rate, rate)
            within = due is not None
            if due is not None:
                KSR.htable.sht_setxs("rate", "calls", f"{due:.4f}", int(due - moment) + 2)
        finally:
            KSR.htable.sht_unlock("rate", "calls")
    load = admission.Load(
        cluster.counted("all"),
        admission.limit(settings.capacity, tables.cluster.max_calls),
        int(KSR.htable.sht_get("overload", "shed") or 0),
        within,
    )
    refusal = admission.admit(load, head.call_id, emergency=emergency)
    return refusal is None or refuse(refusal)


def looped(head: Head) -> bool:
    """Whether this initial request has been here too often; if so it was answered."""
    if KSR.maxfwd.process_maxfwd(70) < 0:
        return not refuse(HOPS)
    if MARKED in head.via and loops.is_loop(head.via, _mark(head)):
        return not refuse(loops.LOOP)
    if loops.is_too_broad(loops.breadth(head.breadth), 1):
        return not refuse(loops.BREADTH)
    return False


def mark(head: Head) -> None:
    """Mark an initial request that goes on, so that `looped` knows it when it comes back."""
    share = loops.share(loops.breadth(head.breadth))
    KSR.hdr.remove("Max-Breadth")
    KSR.hdr.append(f"Max-Breadth: {share}\r\n")
    KSR.pvx.xavp_child_sets("via", loops.PARAMETER, _mark(head))
    KSR.corex.via_add_xavp_params(1)


def _mark(head: Head) -> str:
    return _marks.make(
        loops.Route(
            head.ruri,
            head.call_id,
            head.from_tag,
            head.to_tag,
            head.cseq,
            counted("Route", head.routes),
            head.proxy_require,
            head.proxy_authorization,
        )
    )


def is_too_broad() -> bool:
    """Whether the request may not fork into as many branches as it now has; the answer is 440."""
    branches = 1 + int(KSR.pv.get("$branch(count)") or 0)
    return branches > 1 and loops.is_too_broad(loops.breadth(text("$hdr(Max-Breadth)")), branches)


def tick() -> None:
    """Every 1/`admission.SAMPLES_A_SECOND` s, in a process of its own: watch the receive queue."""
    global _backlog
    found = [
        queue
        for address in dict.fromkeys((settings.vip, settings.address))
        if (queue := receive_queue.used(address, settings.sip_port)) is not None
    ]
    # Whichever is worse: both are read by as many workers.
    used, size = max(found, default=(0, 0))
    served = sum(int(KSR.pv.get(name) or 0) for name in SERVED)
    before = _backlog.shed
    _backlog = admission.observe(_backlog, admission.Queue(used, size, served))
    if _backlog.shed:
        # It expires by itself: if nobody measures, nobody is refused.
        KSR.htable.sht_setxs("overload", "shed", str(_backlog.shed), 5)
    elif before:
        KSR.htable.sht_rm("overload", "shed")
    if bool(before) != bool(_backlog.shed):
        KSR.warn(f"overload: refusing {_backlog.shed} % of new calls\n")

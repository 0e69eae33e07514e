"""Takes up, over KSR, a call that rang at another Call Manager (restoration.py)."""

from __future__ import annotations

import KSR
import msgspec

from services.call_manager.routing import kamailio_calls as calls
from services.call_manager.routing import kamailio_cluster as cluster
from services.call_manager.routing import kamailio_edge as edge
from services.call_manager.routing import kamailio_events as events
from services.call_manager.routing import kamailio_flows as flows
from services.call_manager.routing import kamailio_legs as legs
from services.call_manager.routing import restoration
from services.call_manager.routing.call import (
    Announce,
    Caller,
    Dial,
    Progress,
    Request,
    Ring,
    Serve,
)
from services.call_manager.routing.flows import NOBODY, Flow, arrange, missing, place
from services.call_manager.routing.kamailio_events import Record
from services.call_manager.routing.kamailio_request import read_each
from services.call_manager.routing.restoration import Restoration
from services.call_manager.routing.target_signature import Target
from services.call_manager.routing.uri import host as uri_host
from services.call_manager.routing.worker import key, now, settings

RELIABLE = frozenset(("tcp", "tls"))
"""Transports whose answers can be aimed at another connection. Kamailio 5.6 gives a reply to a
WebSocket only where its request came from one."""
LEAST = 1.0
"""Seconds that a stage goes on at least: the time in which nobody held the VIP is not its own."""

_progress = msgspec.json.Decoder(Progress).decode
_record = msgspec.json.Decoder(Record).decode


def is_asked() -> bool:
    """Whether this request is the agent's."""
    return (
        cluster.SEVERAL
        and KSR.pv.gete("$si") == settings.address
        and KSR.hdr.is_present(restoration.HEADER) > 0
    )


def restore() -> None:
    """Go on with the stage that the call was in."""
    found = restoration.read(key, KSR.hdr.gete(restoration.HEADER))
    if found is None or found.call != KSR.pv.gete("$ci"):
        return
    progress, record = _progress(found.progress), _record(found.record)
    action = progress.current
    if not isinstance(action, Ring | Dial | Announce | Serve):
        return
    back = _aim_answers(found, record)
    if KSR.tm.t_check_trans() == 0:
        # It was taken up before. Or the caller was faster: no answer had reached him, so he has
        # sent it again himself.
        return
    streams = _streams(action)
    gone = missing(found.branches, streams) if isinstance(action, Ring) else []
    if now() < restoration.patience(found, gone, caller_is_back=back, came=cluster.since()):
        # The agent asks again.
        return
    KSR.hdr.remove(restoration.HEADER)
    _take_again(record)
    _shape(progress, record)
    if isinstance(action, Ring):
        outcome = legs.ring(action, record, again=True)
    elif isinstance(action, Dial):
        outcome = legs.dial(action, record, again=True)
    elif isinstance(action, Serve):
        outcome = legs.serve(action, record)
    else:
        outcome = legs.announce(action)
    if outcome is not None:
        calls.skip(progress, outcome, record)
    else:
        _order(found, streams)
        calls.resume(progress, record, max(LEAST, found.until - now()))
    if is_cancelled():
        calls.cancel()


def _aim_answers(found: Restoration, record: Record) -> bool:
    """Let answers go to where the caller is now; False: he has no connection yet.

    A reply goes by the connection of its request, and where that is gone by a new one to the port
    in Via (RFC 3261 section 18.2.2). That is right for a carrier; phones do not listen there, or
    are behind NAT. A phone is told by its registered flow (RFC 5626), which it has made anew, as it
    is told of calls. Kamailio finds a connection by its other end, so that is all to be said.
    """
    source = restoration.source(found.source)
    if source.transport not in RELIABLE:
        KSR.corex.set_source_address(found.source)
        return True
    port = settings.tls_port if source.transport == "tls" else settings.sip_port
    KSR.corex.set_recv_socket(f"{source.transport}:{uri_host(settings.vip)}:{port}")
    if not record.payer:
        sent_by = restoration.sent_by_port(KSR.hdr.gete("Via"), source.transport)
        KSR.corex.set_source_address(f"{source.transport}:{uri_host(source.address)}:{sent_by}")
        return True
    target = Target(KSR.pv.gete("$(ct{nameaddr.uri})"), source, "p")
    flow = flows.to(target, record.payer)
    if not flow:
        KSR.corex.set_source_address(found.source)
        return False
    KSR.corex.set_source_address(f"{source.transport}:{place(flow)}")
    return True


def remember_cancel() -> bool:
    """Note that a caller gives up before his call is taken up; whether that needs an answer.

    Over UDP he says it again, until it is. Over a connection he says it once.
    """
    if KSR.is_UDP() > 0:
        return False
    KSR.htable.sht_sets("ending", _cancelled(), "1")
    return True


def is_cancelled() -> bool:
    return KSR.htable.sht_get("ending", _cancelled()) is not None


def _cancelled() -> str:
    """A transaction's name in hash table ``ending``: only its caller knows it."""
    return f"cancel:{KSR.pv.gete('$ci')}:{restoration.branch_of(KSR.hdr.gete('Via'))}"


def _streams(action: Ring | Dial | Announce | Serve) -> list[Flow]:
    """Connections of the phones to be rung, for they have to make new ones first."""
    if not isinstance(action, Ring):
        return []
    aors = (legs.address_of_record(action.tenant, extension) for extension in action.extensions)
    return [flow for aor in aors for flow in flows.of_user(aor)]


def _take_again(record: Record) -> None:
    """Count here what the call holds beyond its current stage, whatever the limits are now."""
    passing = {*record.ringing, record.dialling}
    kept = [held for held in record.held if held not in passing and not held.startswith("m:")]
    record.held, record.ringing, record.dialling, record.servers = [], [], "", []
    record.term = cluster.term()
    for held in kept:
        events.take(record.held, held, 0)


def _shape(progress: Progress, record: Record) -> None:
    """Make of the INVITE what it was when it was let in."""
    KSR.hdr.remove("Proxy-Authorization")
    edge.mark(read_each())
    if record.contact:
        KSR.hdr.remove("Contact")
        KSR.hdr.append(f"Contact: {record.contact}\r\n")
    caller = Caller(trunk=progress.caller.trunk)
    calls.prepare(Request(caller=caller, authority=None, dialled=""))
    calls.set_media(record, record.media)


def _order(found: Restoration, streams: list[Flow]) -> None:
    """Give each branch the number that it had: phones know it by that."""
    here = [(KSR.pv.gete("$ru"), KSR.pv.gete("$du"))]
    # By it goes the port in our Via, which names a transaction as the branch does
    # (RFC 3261 section 17.2.3).
    sockets = {here[0]: KSR.pv.gete("$fs")}
    for index in range(int(KSR.pv.get("$branch(count)") or 0)):
        uri = KSR.pv.gete(f"$(branch(uri)[{index}])")
        here.append((uri, KSR.pv.gete(f"$(branch(dst_uri)[{index}])")))
        sockets[here[-1]] = KSR.pv.gete(f"$(branch(send_socket)[{index}])")
    ordered = arrange(found.first, found.branches, here, streams)
    if ordered == here:
        return
    for _ in range(len(ordered) - len(here)):
        KSR.corex.append_branch_uri(NOBODY[0])
    for index, (uri, hop) in enumerate(ordered[1:]):
        KSR.pv.sets(f"$(branch(uri)[{index}])", uri)
        KSR.pv.sets(f"$(branch(dst_uri)[{index}])", hop)
        KSR.pv.sets(f"$(branch(send_socket)[{index}])", sockets.get((uri, hop), ""))
    uri, hop = ordered[0]
    KSR.seturi(uri)
    if hop:
        KSR.setdsturi(hop)
    else:
        KSR.resetdsturi()
    socket = sockets.get((uri, hop))
    if socket:
        KSR.pv.sets("$fs", socket)
    else:
        KSR.pv.unset("$fs")

"""New calls over KSR: reads the request, carries out what stages.py decides, and again on failure.

What a call has gone through travels in the transaction, in attribute ``$avp(call)``; what it holds
is in its dialog (kamailio_events.py).
"""

from __future__ import annotations

from urllib.parse import unquote

import KSR
import msgspec

from services.call_manager.routing import identity, redirects, stages
from services.call_manager.routing import kamailio_cluster as cluster
from services.call_manager.routing import kamailio_dialogs as dialogs
from services.call_manager.routing import kamailio_edge as edge
from services.call_manager.routing import kamailio_events as events
from services.call_manager.routing import kamailio_legs as legs
from services.call_manager.routing import kamailio_media as media
from services.call_manager.routing import media_profile as profile
from services.call_manager.routing import route_signature as signature
from services.call_manager.routing.call import (
    Action,
    Announce,
    Authority,
    Caller,
    Dial,
    Outcome,
    Progress,
    Refuse,
    Request,
    Ring,
    Serve,
)
from services.call_manager.routing.flows import NOBODY
from services.call_manager.routing.kamailio_events import Record
from services.call_manager.routing.kamailio_request import Head
from services.call_manager.routing.onward import request_of
from services.call_manager.routing.uri import host as uri_host
from services.call_manager.routing.worker import key, now, settings, tables
from services.core import passport
from services.core.events import Ringing, new_id

_decode = msgspec.json.Decoder(Progress).decode
_encode = msgspec.json.Encoder().encode
_sending: Progress | None = None
"""Of the call that this process relays just now: its branches need not decode it."""


def load() -> Progress:
    return _decode(KSR.pv.gete("$avp(call)"))


def save(progress: Progress) -> None:
    # With [*] it takes the old one's place instead of its front.
    KSR.pv.sets("$(avp(call)[*])", _encode(progress).decode())


def invite(head: Head) -> None:
    """A new call: who calls, may it be, where to."""
    if KSR.tm.t_check_trans() == 0:
        return
    request = _read(head)
    if request is None:
        return
    progress = stages.begin(request, tables, now())
    if not edge.admit(head, emergency=progress.emergency):
        return
    edge.mark(head)
    record = _record(head, request, progress)
    if not progress.emergency and not _take_limits(request, record):
        return
    prepare(request)
    action = stages.advance(progress, tables, now())
    record.callee = progress.callee or request.dialled
    _carry(progress, action, record, new=True)


def failure() -> None:
    """No branch of a stage was answered: on to the next one, or the end."""
    if KSR.tm.t_is_canceled() > 0:
        events.say_end(487, "Cancelled", "caller")
        return
    record = events.load()
    if record is None:
        return
    progress = load()
    current = progress.current
    code = int(KSR.pv.get("$T_reply_code") or 408)
    if isinstance(current, Dial) and code in (401, 407) and legs.authenticate(current):
        _relay(progress, current, record, new=False)
        return
    if current is not None and stages.ask_again(progress, code):
        action: Action = current
    else:
        stages.report(progress, _outcome(code, current), tables)
        action = stages.advance(progress, tables, now())
    events.release_stage(record)
    _carry(progress, action, record, new=False)


def branch() -> None:
    """One branch is about to be sent: its media, its route set, what it shows of the caller."""
    sent = legs.read_branch()
    if sent.uri != NOBODY[0]:
        cluster.sending.note(sent.number, sent.uri, sent.hop)
        legs.branch(_sending or load(), sent)


def reply() -> None:
    """A reply of a branch: its SDP, and who it is that answers."""
    legs.reply()


def message(head: Head) -> None:
    """A MESSAGE (RFC 3428) between users of a tenant, to all contacts."""
    if tables.trunk_of(head.source) is not None:
        KSR.sl.send_reply(405, "Method Not Allowed")
        return
    user = edge.authenticate(head)
    tenant = tables.tenant(user.tenant) if user is not None else None
    if user is None or tenant is None:
        return
    edge.mark(head)
    dialogs.strip_claims()
    KSR.hdr.remove("Route")
    target = head.ruri_user
    host = head.ruri_host.lower()
    here = KSR.is_myself_ruri() > 0 or tables.tenant_of(host) is tenant
    found = tables.user(tenant.name, target) if here else None
    if found is None or not found.enabled:
        KSR.sl.send_reply(404, "Not Found")
        return
    if KSR.registrar.lookup_uri("location", legs.address_of_record(tenant.name, target)) < 0:
        KSR.sl.send_reply(480, "Temporarily Unavailable")
        return
    KSR.tm.t_on_reply("ksr_message_reply")
    if KSR.tm.t_relay() < 0:
        KSR.sl.send_reply(480, "Temporarily Unavailable")


def clean_reply() -> None:
    dialogs.strip_claims()


def _read(head: Head) -> Request | None:
    """The request as a value; None: it was challenged or refused."""
    # "+" may come escaped (RFC 3261 section 19.1.4).
    dialled = unquote(head.ruri_user)
    if tables.app_at(head.source, head.port) is not None:
        return _onward(head)
    trunk = tables.trunk_of(head.source)
    if trunk is None:
        name = signature.read_trunk_contact(key, dialled)
        trunk = tables.trunks.get(name) if name else None
    user = edge.authenticate(head) if trunk is None else None
    if trunk is None and user is None:
        return None
    private = identity.is_private(head.privacy, head.from_user, head.from_host)
    asked = signature.read_referral(key, dialled, head.referred_by, now())
    host = head.ruri_host.lower()
    if trunk is None:
        tenant = tables.tenant(user.tenant) if user is not None else None
        if user is None or tenant is None:
            return None
        number = user.caller_id or tenant.main_number
        caller = Caller(tenant.name, user.extension, "", number, user.name, private)
        authority = stages.authority_of(user, tenant)
    else:
        caller = identity.trunk_caller(
            KSR.hdr.gete("P-Asserted-Identity"), KSR.hdr.gete("From"), trunk, private=private
        )
        authority = None
        if dialled.startswith("trunk-"):
            # Registered trunks call our Contact; the number is in To (RFC 6140 has the other way).
            dialled = identity.number_in(KSR.hdr.gete("P-Called-Party-ID")) or head.to_user
    if asked is not None:
        authority = _referrer(*asked) or authority
    return Request(
        caller=caller,
        authority=authority,
        dialled=dialled,
        host=host,
        here=asked is not None or KSR.is_myself_ruri() > 0,
        replaces=int(head.replaces or 0) > 0,
    )


def _onward(head: Head) -> Request | None:
    """A call of an application server's, for one of its callers. None: it was refused."""
    value = KSR.hdr.gete(passport.HEADER)
    found = passport.unseal(key, "onward", head.call_id, value, now())
    request = request_of(found, tables) if found is not None else None
    if request is None:
        _answer(403, "Forbidden" if found is not None else "Not Signed for This Call")
    return request


def _referrer(tenant_name: str, extension: str) -> Authority | None:
    tenant, user = tables.tenant(tenant_name), tables.user(tenant_name, extension)
    if tenant is None or user is None or not user.enabled:
        return None
    return stages.authority_of(user, tenant)


def _record(head: Head, request: Request, progress: Progress) -> Record:
    caller, authority = request.caller, request.authority
    tenant = authority.tenant if authority is not None else ""
    for item in progress.pending:
        if not tenant and hasattr(item, "authority"):
            tenant = item.authority.tenant  # type: ignore[union-attr]  # asked one line above
    return Record(
        started=now(),
        tenant=tenant,
        direction="inbound" if caller.trunk else "internal",
        caller=caller.extension or caller.number,
        callee=request.dialled,
        call_id=head.call_id,
        tag=head.from_tag,
        trunk=caller.trunk,
        payer=f"{caller.tenant}/{caller.extension}" if caller.tenant else "",
        cseq=head.cseq,
        term=cluster.term(),
        within=request.onward.within if request.onward is not None else "",
    )


def _take_limits(request: Request, record: Record) -> bool:
    """Count the call for who makes it; False: refused, and nothing is counted."""
    caller = request.caller
    if request.onward is not None:
        # The caller's own call is counted for whoever makes it.
        return True
    if caller.trunk:
        trunk = tables.trunks[caller.trunk]
        if not events.take(record.held, f"k:{trunk.name}", trunk.channels):
            return _over(record, 503, "Trunk Is Full")
    elif (user := tables.user(caller.tenant, caller.extension)) and user.max_calls:
        name = f"u:{caller.tenant}/{caller.extension}"
        if not events.take(record.held, name, user.max_calls):
            return _over(record, 403, "Too Many Calls")
    tenant = tables.tenant(record.tenant)
    if tenant is not None and not events.take(record.held, f"t:{tenant.name}", tenant.max_calls):
        return _over(record, 503, "Too Many Calls")
    return True


def _over(record: Record, code: int, reason: str) -> bool:
    events.give_back(record.held)
    _answer(code, reason)
    events.refused(record, code, reason)
    return False


def _answer(code: int, reason: str) -> None:
    """A final reply of our own, kept by a transaction so that the INVITE is not taken up again."""
    if KSR.tm.t_newtran() > 0:
        KSR.tm.t_reply(code, reason)
    else:
        KSR.sl.send_reply(code, reason)


def prepare(request: Request) -> None:
    """What holds for every branch of the call."""
    dialogs.strip_claims()
    KSR.hdr.remove("Route")
    sdp = KSR.pv.get("$rb")
    if isinstance(sdp, str) and "m=" in sdp:
        kind = profile.kind_of_sdp(sdp)
    else:
        kind = profile.kind_of_uri(KSR.pv.gete("$ct"), f"transport={KSR.pv.gete('$pr')}")
    KSR.pv.sets("$avp(kind)", kind)
    if request.caller.trunk and tables.trunks[request.caller.trunk].record:
        KSR.pv.sets("$avp(record)", "1")


def _outcome(code: int, current: Action | None) -> Outcome:
    if code in (401, 407):
        # A challenge is for us; passed on, it would make a phone prove itself to a stranger.
        return Outcome("unavailable", 503, "Challenged")
    timed_out = KSR.tm.t_branch_timeout() > 0
    rang = KSR.pv.get("$avp(rang)") == "1"
    kind = stages.classify(code, timed_out=timed_out, rang=rang)
    reason = KSR.pv.gete("$T_reply_reason") or "Failed"
    contacts: tuple[tuple[str, str], ...] = ()
    if kind == "redirected":
        contacts = redirects.contacts(KSR.pv.gete("$T_rpl($ct)"), legs.is_here)
    via = KSR.pv.gete("$avp(app)") if isinstance(current, Serve) else ""
    return Outcome(kind, code, reason, contacts, via)


def _carry(progress: Progress, action: Action, record: Record, *, new: bool) -> None:
    """Try actions until one is on its way, or end the call."""
    while True:
        outcome = _attempt(progress, action, record, new=new)
        if outcome is None:
            return
        events.release_stage(record)
        stages.report(progress, outcome, tables)
        action = stages.advance(progress, tables, now())


def _attempt(progress: Progress, action: Action, record: Record, *, new: bool) -> Outcome | None:
    """None: it is on its way, or the call has ended. Otherwise how it failed at once."""
    if isinstance(action, Refuse):
        _end(action, record, new=new)
        return None
    if isinstance(action, Ring):
        outcome = legs.ring(action, record)
    elif isinstance(action, Dial):
        outcome = legs.dial(action, record)
    elif isinstance(action, Serve):
        outcome = legs.serve(action, record)
    else:
        outcome = legs.announce(action)
    return outcome or _relay(progress, action, record, new=new)


def _relay(
    progress: Progress, action: Ring | Dial | Announce | Serve, record: Record, *, new: bool
) -> Outcome | None:
    if not new:
        KSR.pv.unset("$avp(rang)")
    if new and edge.is_too_broad():
        _end(Refuse(440, "Max-Breadth Exceeded"), record, new=True)
        return None
    if new and not _open(progress, record):
        return None
    legs.set_timers(action)
    sent = _send(progress, record)
    if new:
        server = KSR.pv.gete("$avp(media)")
        if server != record.media:
            # A branch has had to take another media server than the first choice.
            record = events.load() or record
            record.media = server
        events.started(record)
    if sent:
        if cluster.SEVERAL:
            _tell_stage(progress, legs.patience(action), new=new)
        return None
    # No branch could be sent: no media server, or no way to the target.
    reason = "No Media Server" if not media.pick() else "Not Reachable"
    events.say_end(503, reason, "system")
    _answer_existing(503, reason)
    return None


def _send(progress: Progress, record: Record) -> bool:
    global _sending
    save(progress)
    events.save(record)
    cluster.sending.begin()
    KSR.tm.t_on_branch("ksr_branch")
    KSR.tm.t_on_reply("ksr_reply")
    KSR.tm.t_on_failure("ksr_failure")
    _sending = progress
    try:
        return KSR.tm.t_relay() > 0
    finally:
        _sending = None


def _tell_stage(progress: Progress, patience: float, *, new: bool) -> None:
    """Let the other Call Managers know what they need to go on with this stage."""
    record = events.load()
    if record is None:
        return
    moment = now()
    first, branches = cluster.sending.branches()
    events.ringing(
        Ringing(
            id=new_id(),
            call=record.call_id,
            time=moment,
            server=settings.server,
            tenant=record.tenant,
            term=record.term,
            # It is the same in every stage.
            invite=KSR.pv.gete("$mb") if new else "",
            source=f"{KSR.pv.gete('$pr')}:{uri_host(KSR.pv.gete('$si'))}:{KSR.pv.get('$sp')}",
            progress=_encode(progress).decode(),
            record=_encode(record).decode(),
            first=first,
            branches=branches,
            until=moment + patience,
            held=tuple(record.held),
        )
    )


def set_media(record: Record, server: str) -> None:
    """Anchor the call at this server, or where that is out at another one."""
    _anchor(record, media.pick() if server and media.is_out(server) else server)


def _anchor(record: Record, server: str) -> None:
    record.media = server
    KSR.pv.sets("$avp(media)", server)
    if server and KSR.pv.get("$rb"):
        record.servers.append(server)
        events.take(record.held, f"m:{server}", 0)


def resume(progress: Progress, record: Record, seconds: float) -> None:
    """Go on with a stage that began at another Call Manager, for so many seconds."""
    if KSR.dialog.dlg_manage() < 0:
        return
    KSR.rr.record_route()
    KSR.tm.t_set_fr(int(seconds * 1000), legs.PHONE_SILENCE)
    if _send(progress, record):
        _tell_stage(progress, seconds, new=True)
        return
    events.say_end(503, "Not Reachable", "system")
    _answer_existing(503, "Not Reachable")


def skip(progress: Progress, outcome: Outcome, record: Record) -> None:
    """The same where nobody of that stage can be reached any more."""
    if KSR.dialog.dlg_manage() < 0:
        return
    KSR.rr.record_route()
    save(progress)
    events.save(record)
    events.release_stage(record)
    stages.report(progress, outcome, tables)
    _carry(progress, stages.advance(progress, tables, now()), record, new=False)


def cancel() -> None:
    """The caller of the call that is being taken up has given up meanwhile."""
    events.say_end(487, "Cancelled", "caller")
    # It cancels what rings, too.
    KSR.tm.t_reply(487, "Request Terminated")


def _open(progress: Progress, record: Record) -> bool:
    """Make the dialog. False: the request cannot make one, and was answered."""
    _anchor(record, media.pick())
    if not record.media and not progress.emergency and KSR.pv.get("$rb"):
        _end(Refuse(503, "No Media Server"), record, new=True)
        return False
    if isinstance(progress.current, Dial):
        record.direction = "outbound" if not record.trunk else record.direction
        record.trunk = record.trunk or progress.current.trunks[0][0]
    record.callee = progress.callee or record.callee
    events.take(record.held, events.EVERYTHING, 0)
    if KSR.dialog.dlg_manage() < 0:
        _end(Refuse(400, "Contact Is Missing or Not One"), record, new=True)
        return False
    record.contact = dialogs.sign_contact("caller")
    if record.term:
        KSR.dialog.var_sets("term", record.term)
    KSR.rr.record_route()
    return True


def _end(action: Refuse, record: Record, *, new: bool) -> None:
    if new:
        events.give_back(record.held)
        _answer(action.code, action.reason)
        events.refused(record, action.code, action.reason)
        return
    by = "callee" if action.code in (486, 600, 603) else "system"
    events.say_end(action.code, action.reason, by)
    events.save(record)
    _answer_existing(action.code, action.reason)


def _answer_existing(code: int, reason: str) -> None:
    if KSR.tm.t_reply(code, reason) < 0:
        KSR.sl.send_reply(code, reason)

"""The legs of a call over KSR: what is rung or dialled; each branch's media, route and names."""

from __future__ import annotations

from typing import NamedTuple

import KSR
import msgspec

from services.call_manager.routing import dropping, identity
from services.call_manager.routing import kamailio_cluster as cluster
from services.call_manager.routing import kamailio_dialogs as dialogs
from services.call_manager.routing import kamailio_events as events
from services.call_manager.routing import kamailio_media as media
from services.call_manager.routing import media_profile as profile
from services.call_manager.routing import route_signature as signature
from services.call_manager.routing.call import Announce, Dial, Outcome, Progress, Ring, Serve
from services.call_manager.routing.kamailio_events import Record
from services.call_manager.routing.kamailio_request import NULL
from services.call_manager.routing.server_choice import choose
from services.call_manager.routing.uri import host as uri_host
from services.call_manager.routing.worker import key, now, settings, tables
from services.core import passport
from services.core.configuration import Trunk
from services.core.passport import Passport

TRUNK_SILENCE = 3000
"""Milliseconds without any reply after which a trunk is given up for the next one."""
TRUNK_RINGING = 120_000
PHONE_SILENCE = 5000
ANNOUNCEMENT = 30_000
SERVER_SILENCE = 700
"""Milliseconds without any reply after which an application server is given up for the next."""
SERVER_ANSWER = 10_000
UNREGISTERED = Outcome("unregistered", 480, "Temporarily Unavailable")
FULL = Outcome("full", 486, "Busy Here")


class Branch(NamedTuple):
    """What is read of a branch that is about to be sent; "" for what is not there."""

    uri: str
    hop: str
    number: str
    media: str
    kind: str
    call_id: str
    tag: str


_BRANCH = "$_s($ru\n$du\n$T_branch_idx\n$avp(media)\n$avp(kind)\n$ci\n$ft)"

_owners: dict[str, str] = {}
"""Whose phone each branch of the stage is that this process is about to send, by URI, or of all of
them by ``*``: `ring`, `dial` or `announce` says so, and the branches follow in the same process."""


class Password(msgspec.Struct):
    """A trunk's credentials, as the agent puts them into hash table ``trunk_auth``, in JSON."""

    username: str
    password: str
    realm: str = ""


def address_of_record(tenant: str, extension: str) -> str:
    return f"sip:{extension}@{tenant}"


def is_here(host: str) -> bool:
    """Whether a URI's host is this Call Manager."""
    bare = host.strip("[]")
    return bare in (settings.vip, settings.address, settings.public_address)


def ring(action: Ring, record: Record, *, again: bool = False) -> Outcome | None:
    """Put the contacts of the extensions into the request; an outcome where there are none.

    ``again``: the call rang there before, and was let in by the limits of then.
    """
    owners: dict[str, str] = {}
    full = False
    KSR.resetdsturi()
    for extension in action.extensions:
        user = tables.user(action.tenant, extension)
        if user is None or not user.enabled or (not action.follow and user.do_not_disturb):
            continue
        if user.max_calls:
            counter = f"u:{action.tenant}/{extension}"
            if not events.take(record.held, counter, 0 if again else user.max_calls):
                full = True
                continue
            record.ringing.append(counter)
        before = _branches() if owners else 0
        aor = address_of_record(action.tenant, extension)
        if not owners:
            found = KSR.registrar.lookup_uri("location", aor) > 0
            first = 0
        else:
            found = KSR.registrar.lookup_to_dset("location", aor) > 0
            first = before
        if not found:
            continue
        if len(action.extensions) == 1:
            owners["*"] = extension
        else:
            if not owners:
                owners[KSR.pv.gete("$ru")] = extension
            for index in range(first, _branches()):
                owners.setdefault(KSR.pv.gete(f"$(branch(uri)[{index}])"), extension)
    if not owners:
        return FULL if full else UNREGISTERED
    # One member of a group who declines does not speak for the others (RFC 3261 section 16.7).
    KSR.tm.t_set_disable_6xx(0 if action.follow else 1)
    _own(owners)
    return None


def _own(owners: dict[str, str]) -> None:
    global _owners
    _owners = owners


def _branches() -> int:
    return int(KSR.pv.get("$branch(count)") or 0)


def dial(action: Dial, record: Record, *, again: bool = False) -> Outcome | None:
    """Aim the request at the first trunk of the action; ``again`` as in `ring`."""
    name, number = action.trunks[0] if action.trunks else ("", "")
    trunk = tables.trunks.get(name)
    if trunk is None:
        return Outcome("unavailable", 503, "No Trunk")
    limit = 0 if action.emergency or again else trunk.channels
    if not events.take(record.held, f"k:{name}", limit):
        return Outcome("full", 503, "Trunk Is Full")
    record.dialling = f"k:{name}"
    KSR.resetdsturi()
    KSR.seturi(trunk_uri(trunk, number))
    address = tables.address_of(name)
    if address:
        transport = "" if trunk.transport == "udp" else f";transport={trunk.transport}"
        port = trunk.port or tables.port_of(name) or (5061 if trunk.transport == "tls" else 5060)
        KSR.setdsturi(f"sip:{uri_host(address)}:{port}{transport}")
    _own({"*": action.number})
    return None


def trunk_uri(trunk: Trunk, number: str) -> str:
    port = f":{trunk.port}" if trunk.port else ""
    transport = "" if trunk.transport == "udp" else f";transport={trunk.transport}"
    return f"sip:{number}@{trunk.host}{port}{transport}"


def announce(action: Announce) -> Outcome | None:
    """Aim the request at a media server's announcements; an outcome where none can play it."""
    server = tables.media.get(KSR.pv.gete("$avp(media)") or media.pick())
    if server is None or not server.announce or media.is_out(server.name):
        return Outcome("unavailable", action.code, action.reason)
    KSR.resetdsturi()
    KSR.seturi(f"sip:{action.announcement}@{server.announce};lang={action.language}")
    _own({"*": ""})
    return None


def serve(action: Serve, record: Record) -> Outcome | None:
    """Aim the request at an application server; an outcome where there is none."""
    there = [each for each in tables.apps.values() if each.role == action.role]
    server = choose(
        there,
        lambda name: cluster.counted(f"a:{action.role}/{name}"),
        lambda name: name in action.tried,
    )
    if server is None:
        return Outcome("unavailable", 503, "No Server")
    record.dialling = f"a:{server.key}"
    events.take(record.held, record.dialling, 0)
    KSR.resetdsturi()
    KSR.seturi(f"sip:{action.target}@{server.sip}")
    _set("$avp(app)", server.name)
    _set("$avp(owners)", msgspec.json.encode({"*": action.target}).decode())
    return None


def set_timers(action: Ring | Dial | Announce | Serve) -> None:
    if isinstance(action, Ring):
        KSR.tm.t_set_fr(action.timeout * 1000, min(PHONE_SILENCE, action.timeout * 1000))
    elif isinstance(action, Dial):
        KSR.tm.t_set_fr(TRUNK_RINGING, TRUNK_SILENCE)
    elif isinstance(action, Serve):
        KSR.tm.t_set_fr(SERVER_ANSWER, SERVER_SILENCE)
    else:
        KSR.tm.t_set_fr(ANNOUNCEMENT, 2000)


def patience(action: Ring | Dial | Announce | Serve) -> float:
    """Seconds that a stage lasts at most."""
    if isinstance(action, Ring):
        return action.timeout
    if isinstance(action, Serve):
        return SERVER_ANSWER / 1000
    return (TRUNK_RINGING if isinstance(action, Dial) else ANNOUNCEMENT) / 1000


def authenticate(action: Dial) -> bool:
    """Answer a trunk's challenge with its credentials, once; False where there are none."""
    name, number = action.trunks[0]
    trunk = tables.trunks.get(name)
    value = KSR.htable.sht_get("trunk_auth", name)
    if trunk is None or value is None or KSR.pv.get("$avp(authenticated)") == name:
        return False
    _set("$avp(authenticated)", name)
    _own({"*": action.number})
    credentials = msgspec.json.decode(str(value), type=Password)
    _set("$avp(trunk_username)", credentials.username)
    _set("$avp(trunk_password)", credentials.password)
    _set("$avp(trunk_realm)", credentials.realm)
    KSR.seturi(trunk_uri(trunk, number))
    done = KSR.uac.uac_auth() > 0
    KSR.pv.unset("$avp(trunk_password)")
    return done


def read_branch() -> Branch:
    """The current branch."""
    values = KSR.pv.gete(_BRANCH).split("\n")
    return Branch._make("" if value == NULL else value for value in values)


def branch(progress: Progress, sent: Branch) -> None:
    """Shape one branch: media by what its end speaks, route parameters, names."""
    action = progress.current
    if not isinstance(action, Ring | Dial | Announce | Serve):
        return
    index = sent.number
    kind: profile.Kind = "p"
    if not isinstance(action, Announce) and not progress.compatible:
        kind = profile.kind_of_uri(sent.uri, sent.hop)
    elif progress.compatible and "ws" in sent.hop:
        kind = "w"
    server = sent.media
    late = flags = ""
    owner = _owner(sent.uri)
    sdp = KSR.pv.get("$rb")
    if not isinstance(sdp, str) or "m=" not in sdp:
        late = dialogs.LATE
    elif server or not progress.emergency:
        flags = profile.offer(
            kind, sdp, everything=progress.compatible, record=_recording(action, progress, owner)
        )
        try:
            server = media.offer(server, flags, f"b{index}")
        except media.RejectedError:
            server = ""
        if not server and not progress.emergency:
            dropping.drop()
            return
        if server != sent.media:
            _set("$avp(media)", server)
            _remember(server)
    kinds = sent.kind + kind + late
    recorded = profile.RECORDED if " record-call=on" in flags else ""
    user = "1" if isinstance(action, Ring) else "0"
    _set(f"$avp(leg{index})", f"{owner}|{server}|{user}|{kinds[:2]}{recorded}")
    KSR.rr.add_rr_param(signature.route_parameters(key, sent.call_id, sent.tag, server, kinds))
    _name(action, progress)


def _remember(server: str) -> None:
    """Note that the call is (also) at this server, so that it is counted and freed there."""
    record = events.load()
    if server and record is not None and server not in record.servers:
        record.servers.append(server)
        events.take(record.held, f"m:{server}", 0)
        events.save(record)


def _recording(action: Ring | Dial | Announce | Serve, progress: Progress, owner: str) -> str:
    """Flags that record the call where a rule says so."""
    if isinstance(action, Announce):
        return ""
    caller = progress.caller
    tenant_name = action.tenant if isinstance(action, Ring | Serve) else caller.tenant
    tenant = tables.tenant(tenant_name)
    wanted = KSR.pv.get("$avp(record)") == "1" or (tenant is not None and tenant.record)
    if not wanted and caller.tenant:
        user = tables.user(caller.tenant, caller.extension)
        wanted = user is not None and user.record
    if not wanted and isinstance(action, Ring):
        user = tables.user(action.tenant, owner)
        wanted = user is not None and user.record
    if not wanted and isinstance(action, Dial):
        trunk = tables.trunks.get(action.trunks[0][0])
        wanted = trunk is not None and trunk.record
    if not wanted:
        return ""
    return profile.recording(
        KSR.pv.gete("$ft"), tenant_name, caller.extension or caller.number, owner
    )


def _name(action: Ring | Dial | Announce | Serve, progress: Progress) -> None:
    """Say who calls, as this leg may know it."""
    if isinstance(action, Announce):
        KSR.hdr.append(f"X-PBX-Final: {action.code}\r\n")
        return
    if isinstance(action, Serve):
        call_id = KSR.pv.gete("$ci")
        value = passport.seal(key, "serve", call_id, _passport(action, progress), now())
        KSR.hdr.append(f"{passport.HEADER}: {value}\r\n")
        return
    if isinstance(action, Ring):
        tenant = tables.tenant(action.tenant)
        if tenant is None:
            return
        shown = identity.to_phone(progress.caller, tenant)
    else:
        trunk = tables.trunks[action.trunks[0][0]]
        host = uri_host(settings.public_address or settings.vip)
        shown = identity.to_trunk(progress.caller, action, trunk, host)
    if shown.uri:
        KSR.uac.uac_replace_from(shown.display, shown.uri)
    if shown.headers:
        KSR.hdr.append("".join(shown.headers))


def _passport(action: Serve, progress: Progress) -> Passport:
    caller = progress.caller
    return Passport(
        tenant=action.tenant,
        kind=action.kind,
        target=action.target,
        caller=caller.number,
        name=caller.name,
        extension=caller.extension if caller.tenant == action.tenant else "",
        trunk=caller.trunk,
        anonymous=caller.anonymous,
        called=action.called,
        hops=progress.hops + 1,
    )


def reply() -> None:
    """A branch's reply: anchor its SDP, and note who answers."""
    status = int(KSR.pv.get("$rs") or 0)
    dialogs.strip_claims()
    signed = dialogs.sign_contact("callee" if status >= 200 else "") if status < 300 else ""
    index = KSR.pv.gete("$T_branch_idx")
    owner, server, user, kinds = (KSR.pv.gete(f"$avp(leg{index})") or "|||").split("|")
    sdp = KSR.pv.get("$rb")
    if 100 < status < 200:
        _set("$avp(rang)", "1")
    elif 200 <= status < 300:
        if profile.is_transcoded(KSR.pv.get("$T_req($rb)"), sdp):
            kinds += profile.TRANSCODED
        mid = profile.media_id(KSR.pv.gete("$T_req($rb)")) if kinds[:1] == "w" else ""
        KSR.dialog.var_sets("won", f"{owner}|{server}|{kinds}|{mid}")
        KSR.dialog.var_sets("won_user", user)
        KSR.dialog.var_sets("contact", signed)
    if status >= 300 or not isinstance(sdp, str) or "m=" not in sdp or not server:
        return
    back = dialogs.kind(KSR.pv.gete("$avp(kind)"))
    if KSR.pv.get("$T_req($rb)"):
        anchored = media.answer(server, profile.answer(back), f"b{index}")
    else:
        try:
            server = media.offer(server, profile.offer(back, sdp))
        except media.RejectedError:
            server = ""
        _remember(server)
        anchored = server != ""
    if not anchored:
        KSR.warn(f"the SDP of a {status} could not be anchored, and does not go on\n")
        media.withhold(sdp)


def _owner(uri: str) -> str:
    return _owners.get("*") or _owners.get(uri, "")


def _set(name: str, value: str) -> None:
    # With [*] it takes the old value's place instead of its front.
    KSR.pv.sets(f"$({name[1:]}[*])", value)

"""Who sends a request, over KSR: authentication and registration.

The decisions are in digest.py and registration.py. The hash tables are kamailio_edge.py's.
"""

from __future__ import annotations

import os
from urllib.parse import unquote

import KSR

from services.call_manager.routing import digest, guard
from services.call_manager.routing import kamailio_flows as flows
from services.call_manager.routing import registration as registrar
from services.call_manager.routing.guard import Refusal
from services.call_manager.routing.kamailio_request import (
    NOT_UTF8,
    Head,
    counted,
    is_stream,
    policy,
    refuse,
)
from services.call_manager.routing.subscription import Ask
from services.call_manager.routing.worker import asks, key, now, tables
from services.core.configuration import Tenant, User

LOCATION = "location"
PREPARE_REPLY = 2 | 16
"""The registrar writes the answer's header fields and leaves the sending to us."""
NAT_FLAG, PING_FLAG = 6, 7
"""Branch flags; kamailio.cfg gives them to usrloc and nathelper."""

STARTING = guard.retry_after(Refusal(503, "Users Are Being Loaded"), 5)
FOREIGN = Refusal(403, "Domain Is Not Served Here")
DISABLED = Refusal(403, "Account Is Disabled")
NOT_YOU = Refusal(403, "From Is Not the Authenticated User")
TOO_MANY = Refusal(403, "Too Many Contacts")
INSERTED, TOO_MANY_SAVED = 1, -2
"""What the registrar's ``save`` returns for a new binding, and for one too many."""
ANONYMOUS = "anonymous.invalid"
EXTENSIONS = frozenset(("path", "outbound", "gruu"))
"""What a REGISTER may Require of us (RFC 3327, 5626, 5627)."""

_nonces = digest.Nonces(key)


def authenticate(head: Head) -> User | None:
    """The user who proved to send this request; None: it was challenged or refused.

    From must name the user, or be anonymous (RFC 3323 4.1); then the Request-URI names the tenant.
    """
    try:
        domain = head.from_host.lower()
        anonymous = domain == ANONYMOUS
        tenant = tables.tenant_of(head.ruri_host.lower() if anonymous else domain)
        if tenant is None:
            refuse(FOREIGN)
            return None
        user = _prove(tenant, head, "Proxy-Authorization")
        if user is None:
            return None
        if not anonymous and unquote(head.from_user) != user.extension:
            refuse(NOT_YOU)
            return None
    except UnicodeDecodeError:
        refuse(NOT_UTF8)
        return None
    # They were for us; nobody further on may see them (RFC 3261 22.3).
    KSR.hdr.remove("Proxy-Authorization")
    if int(head.record_routes or 0) and int(head.vias or 0) < 2:
        # Only a proxy may set one (RFC 3261 16.6); this came from a phone, to lead others astray.
        KSR.hdr.remove("Record-Route")
    return user


def subscriber(head: Head) -> User | None:
    """The user who proved to send a SUBSCRIBE that ends here; None: it was answered."""
    tenant = tables.tenant_of(head.from_host.lower())
    if tenant is None or not _is_ours(head.ruri_host.lower()):
        refuse(FOREIGN)
        return None
    user = _prove(tenant, head, "Authorization")
    if user is not None and unquote(head.from_user) != user.extension:
        refuse(NOT_YOU)
        return None
    return user


def _prove(tenant: Tenant, head: Head, header: str) -> User | None:
    """Digest, by the tenant's realm. None: answered."""
    realm, source = tenant.domains[0], head.source
    if header == "Authorization":
        credentials = counted(header, head.authorizations, head.authorization)
    else:
        credentials = counted(header, head.proxy_authorizations, head.proxy_authorization)
    request = digest.Request(head.method, credentials, source, f"{head.call_id} {head.cseq}")
    try:
        judgement = digest.judge(
            request,
            realm,
            policy.security.digest,
            _nonces,
            lambda name: tables.user(tenant.name, name),
            _count,
            now(),
        )
    except digest.MalformedError as error:
        refuse(Refusal(400, str(error)))
        return None
    verdict = judgement.verdict
    if verdict is digest.Verdict.ACCEPTED:
        user = judgement.user
        if user is not None and user.enabled:
            return user
        refuse(DISABLED)
        return None
    if verdict is digest.Verdict.WRONG and _may_come(tenant, judgement.username):
        refuse(STARTING)
        return None
    if verdict is digest.Verdict.WRONG or verdict is digest.Verdict.FORGED:
        _failed(source, forged=verdict is digest.Verdict.FORGED)
    stale = verdict in (digest.Verdict.STALE, digest.Verdict.REPLAYED)
    _challenge(realm, source, header, stale=stale)
    return None


def _may_come(tenant: Tenant, extension: str) -> bool:
    """Whether an unknown user may be among those that the agent has not copied yet."""
    return not tables.complete and tables.user(tenant.name, extension) is None


def _challenge(realm: str, source: str, header: str, *, stale: bool) -> None:
    proxy = header == "Proxy-Authorization"
    nonce = _nonces.make(realm, source, now(), os.urandom(5))
    lines = digest.challenges(realm, nonce, policy.security.digest, stale=stale, proxy=proxy)
    if proxy:
        refuse(Refusal(407, "Proxy Authentication Required", lines))
    else:
        refuse(Refusal(401, "Unauthorized", lines))


def _count(nonce: str, nc: int, fingerprint: str) -> bool:
    """Whether this nonce count is new. One step for all workers, by the lock."""
    KSR.htable.sht_lock("nonces", nonce)
    try:
        seen = KSR.htable.sht_get("nonces", nonce)
        kept = digest.advance(str(seen) if seen else None, nc, fingerprint, now())
        if kept is None:
            return False
        if kept != seen:
            keep = _nonces.lifetime + digest.CLOCK_SKEW + 1
            KSR.htable.sht_setxs("nonces", nonce, kept, keep)
    finally:
        KSR.htable.sht_unlock("nonces", nonce)
    return True


def _failed(address: str, *, forged: bool) -> None:
    if address in policy.trusted:
        return
    if not guard.counts_as_failure(forged=forged, proven=is_stream()):
        return
    limit, source = policy.security.failed_auth, guard.source_key(address)
    failures = KSR.htable.sht_inc("authfail", source)
    if failures == 1:
        KSR.htable.sht_setex("authfail", source, limit.window)
    if guard.is_banned_after(failures, limit):
        KSR.htable.sht_setxs("ipban", source, "authentication", limit.ban)
        KSR.htable.sht_rm("authfail", source)
        KSR.warn(f"banned {source} for {limit.ban} s: {failures} failed authentications\n")


def register(head: Head) -> None:
    """Answer a REGISTER. Bindings are kept under sip:<extension>@<tenant's name>."""
    try:
        _register(head)
    except UnicodeDecodeError:
        refuse(NOT_UTF8)


def _register(head: Head) -> None:
    tenant = tables.tenant_of(head.to_host.lower())
    if tenant is None or not _is_ours(head.ruri_host.lower()):
        refuse(FOREIGN)
        return
    unsupported = [
        option
        for value in counted("Require", head.requires)
        for option in (text.strip() for text in value.split(","))
        if option and option.lower() not in EXTENSIONS
    ]
    if unsupported:
        refuse(Refusal(420, "Bad Extension", f"Unsupported: {', '.join(unsupported)}\r\n"))
        return
    sender = tables.tenant_of(head.from_host.lower())
    asked = registrar.Asked(
        unquote(head.to_user),
        tenant.name,
        unquote(head.from_user),
        sender.name if sender else "",
        counted("Contact", head.contacts, head.contact),
        counted("Path", head.paths),
        head.source,
        int(head.port or 0),
        head.transport.lower(),
        head.source in policy.trusted,
    )
    refusal = registrar.same_user(asked)
    if refusal is not None:
        refuse(refusal)
        return
    user = _prove(tenant, head, "Authorization")
    if user is None:
        return
    if user.extension != asked.aor_user:
        refuse(NOT_YOU)
        return
    plan = registrar.plan(asked)
    if isinstance(plan, Refusal):
        refuse(plan)
        return
    _save(user, plan, head.call_id)


def _is_ours(domain: str) -> bool:
    return tables.tenant_of(domain) is not None or KSR.is_myself_ruri() > 0


def _save(user: User, plan: registrar.Plan, call_id: str) -> None:
    aor = f"sip:{user.extension}@{user.tenant}"
    if plan.received:
        KSR.nathelper.fix_nated_register()
        KSR.setbflag(NAT_FLAG)
    if plan.ping:
        KSR.setbflag(PING_FLAG)
    KSR.pvx.xavp_child_seti("reg", "max_contacts", policy.security.max_contacts)
    saved = KSR.registrar.save_uri(LOCATION, PREPARE_REPLY, aor)
    if saved == TOO_MANY_SAVED:
        # A phone that connects anew leaves a binding behind, for up to an hour where the Call
        # Manager that had the connection is gone. Those that lead nowhere give way.
        for unique in flows.lost(aor):
            KSR.registrar.unregister_ruid(LOCATION, aor, unique)
            saved = KSR.registrar.save_uri(LOCATION, PREPARE_REPLY, aor)
            if saved != TOO_MANY_SAVED:
                break
    if saved > 0:
        KSR.sl.send_reply(200, "OK")
        if saved == INSERTED:
            # A phone that was not here: it knows nothing of the box.
            asks.tell(Ask(tenant=user.tenant, extension=user.extension, registration=call_id))
    elif saved == TOO_MANY_SAVED:
        # The registrar's own answer to one contact too many is a 503, which sends a phone to
        # another Call Manager.
        refuse(TOO_MANY)
    else:
        KSR.registrar.reg_send_reply()

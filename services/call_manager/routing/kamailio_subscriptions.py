"""SUBSCRIBE to a voicemail box, over KSR: who may, what is kept, what the agent is asked for.

What is decided is in subscription.py. Hash table ``subscriptions`` has <tenant>/<extension> => a
JSON list of them; all Call Managers have it (dmq), so that whoever gets the VIP goes on with them.
"""

from __future__ import annotations

from urllib.parse import unquote

import KSR

from services.call_manager.routing import kamailio_users as users
from services.call_manager.routing import subscription
from services.call_manager.routing.guard import Refusal
from services.call_manager.routing.kamailio_request import NOT_UTF8, Head, counted, refuse
from services.call_manager.routing.registration import (
    Contact,
    MalformedError,
    parse_contacts,
)
from services.call_manager.routing.subscription import Ask, Subscription
from services.call_manager.routing.uri import host
from services.call_manager.routing.worker import asks, key, now, settings, tables

TABLE = "subscriptions"
ANOTHERS = Refusal(403, "Subscribe to Your Own Box")


def are_ours() -> bool:
    """Whether the current SUBSCRIBE asks for a voicemail box."""
    try:
        return subscription.is_ours(KSR.hdr.gete("Event"))
    except UnicodeDecodeError:
        return False


def subscribe(head: Head) -> None:
    """Answer a SUBSCRIBE, the first one of a dialog or a later one.

    One that we know nothing of is taken as if it were the first: it says all there is to know.
    """
    try:
        refusal = _subscribe(head)
    except UnicodeDecodeError:
        refusal = NOT_UTF8
    if refusal is not None:
        refuse(refusal)


def _subscribe(head: Head) -> Refusal | None:
    event = KSR.hdr.gete("Event")
    user = users.subscriber(head)
    if user is None:
        return None
    target = unquote(head.ruri_user)
    if target != user.extension and tables.user(user.tenant, target):
        return ANOTHERS
    seconds = subscription.granted(KSR.hdr.gete("Expires"))
    if isinstance(seconds, Refusal):
        return seconds
    try:
        contacts = parse_contacts(counted("Contact", head.contacts, head.contact))
    except MalformedError as error:
        return Refusal(400, str(error))
    if contacts is None or len(contacts) != 1:
        return subscription.NO_CONTACT
    asked = _asked(head, event, contacts[0], user.extension, seconds)
    if not subscription.fits(asked):
        return subscription.TOO_LARGE
    if not _keep(f"{user.tenant}/{user.extension}", asked):
        return subscription.BUSY
    # The reply has the To of the message, which has no tag in the first one.
    KSR.hdr.remove("To")
    KSR.hdr.append(f"To: {asked.local}\r\n")
    KSR.textopsx.msg_apply_changes()
    KSR.hdr.append_to_reply(f"Expires: {seconds}\r\nContact: <{asked.own}>\r\n")
    KSR.sl.send_reply(200, "OK")
    over = asked if not seconds else None
    asks.tell(
        Ask(
            tenant=user.tenant, extension=user.extension, call="" if over else asked.call, over=over
        )
    )
    return None


def _asked(head: Head, event: str, contact: Contact, extension: str, seconds: int) -> Subscription:
    to = KSR.hdr.gete("To")
    own_tag = subscription.tag(key, head.call_id, head.from_tag)
    local = to if head.to_tag else f"{to};tag={own_tag}"
    over = {"wss": "ws"}.get(head.transport.lower(), head.transport.lower())
    suffix = "" if over == "udp" else f";transport={over}"
    uri = contact.uri
    at = f"{uri.user}@" if uri.user else ""
    port = f":{uri.port}" if uri.port else ""
    return Subscription(
        call=head.call_id,
        local=local,
        remote=KSR.hdr.gete("From"),
        contact=f"{uri.scheme}:{at}{host(uri.host)}{port}{uri.parameters}",
        own=f"sip:{extension}@{host(settings.public_address or settings.vip)}{suffix}",
        # Never where the Contact says: that would be anybody's address.
        hop=f"sip:{host(head.source.strip('[]'))}:{head.port};transport={over}",
        until=now() + seconds,
        event=event,
        routes=tuple(counted("Record-Route", head.record_routes)),
    )


def _keep(user: str, asked: Subscription) -> bool:
    KSR.htable.sht_lock(TABLE, user)
    try:
        there = subscription.read(str(KSR.htable.sht_get(TABLE, user) or ""), now())
        found = subscription.keep(there, asked, now())
        if not found:
            KSR.htable.sht_rm(TABLE, user)
            return True
        return KSR.htable.sht_sets(TABLE, user, subscription.write(found)) > 0
    finally:
        KSR.htable.sht_unlock(TABLE, user)

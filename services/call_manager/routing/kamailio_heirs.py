"""Requests inside a dialog with an application server: to it, or to who goes on with its calls.

The target of such a request is the Contact of the server that had the call. When that has gone, the
request goes to the same server that takes the call over (`server_choice.heir`), before and after it
has told the other party its own Contact.
"""

from __future__ import annotations

import KSR

from services.call_manager.routing import kamailio_events as events
from services.call_manager.routing.server_choice import heir
from services.call_manager.routing.target_signature import Target
from services.call_manager.routing.worker import tables
from services.call_manager.tables import AppServer

SILENCE = 1500
"""Milliseconds until a server has said that it has an INVITE (100 Trying), or has answered what
needs no work, which takes it 200 at most."""
SLOW = 5000
"""Milliseconds for a server that is slow to answer a BYE."""
PROMPT = frozenset(("INVITE", "INFO", "BYE"))
"""Methods for which that holds. What others ask for may take its time: Kamailio's fr_timer."""


def hop(target: Target) -> str:
    """Where a request to ``target`` is sent; "" where that is no application server."""
    server = _server(target)
    return _to(server) if server is not None else ""


def watch(target: Target | None, method: str) -> None:
    """Have a request that is about to be sent try again elsewhere if its server has just gone."""
    server = _server(target) if target is not None else None
    if target is None or server is None or method == "ACK":
        return
    KSR.pv.sets("$avp(app)", server.key)
    KSR.pv.sets("$avp(app_uri)", target.uri)
    if method in PROMPT:
        KSR.tm.t_set_fr(0, SILENCE)
    KSR.tm.t_on_failure("ksr_dialog_failure")


def failure() -> None:
    """It was not answered. While its server is there, that is its last word; but a BYE that is lost
    leaves a call up, so a slow server gets it once more.
    """
    server = tables.apps.get(KSR.pv.gete("$avp(app)"))
    if server is None or KSR.tm.t_branch_timeout() <= 0 or KSR.tm.t_is_canceled() > 0:
        return
    if server.there:
        if KSR.pv.gete("$rm") != "BYE" or KSR.pv.get("$avp(app_again)"):
            return
        KSR.pv.seti("$avp(app_again)", 1)
        KSR.tm.t_set_fr(0, SLOW)
        KSR.tm.t_on_failure("ksr_dialog_failure")
    KSR.seturi(KSR.pv.gete("$avp(app_uri)"))
    KSR.setdsturi(_to(server))
    KSR.tm.t_on_reply("ksr_dialog_reply")
    KSR.tm.t_relay()


def _call() -> str:
    """By which Call-ID the heir is found: a call made for a caller goes where the caller's goes."""
    record = events.load()
    return (record.within if record is not None else "") or KSR.pv.gete("$ci")


def adopted() -> None:
    """An INVITE comes from a server that has taken the call over: the call is counted there now."""
    server = tables.app_at(KSR.pv.gete("$si"), KSR.pv.gete("$sp"))
    record = events.load() if server is not None else None
    if server is None or record is None:
        return
    role, own = f"a:{server.role}/", f"a:{server.key}"
    before = [counter for counter in record.held if counter.startswith(role)]
    if before and own not in before:
        events.take(record.held, own, 0)
        events.release(record, before)
        events.save(record)


def _server(target: Target) -> AppServer | None:
    return tables.app_at(target.source.address, target.source.port)


def _to(server: AppServer) -> str:
    found = heir(server, _call(), tables.apps.values()) if not server.there else server
    return f"sip:{found.sip};transport=udp"

"""Kamailio's way into Python (KEMI): one method for each entrance in routes.cfg, a few named steps.

The steps are in kamailio_edge.py (who may come in), kamailio_calls.py (new calls and what follows
from their failing), kamailio_dialogs.py (requests inside a dialog), kamailio_media.py (rtpengine)
and kamailio_events.py (what is told of a call). They only read pseudo-variables and carry out; what
is decided is decided in the pure modules beside them.
"""

from __future__ import annotations

import ctypes
import gc
import os
import traceback
from collections.abc import Callable

import KSR

from services.call_manager.routing import dropping, subscription
from services.call_manager.routing import kamailio_calls as calls
from services.call_manager.routing import kamailio_cluster as cluster
from services.call_manager.routing import kamailio_dialogs as dialogs
from services.call_manager.routing import kamailio_edge as edge
from services.call_manager.routing import kamailio_events as events
from services.call_manager.routing import kamailio_heirs as heirs
from services.call_manager.routing import kamailio_media as media
from services.call_manager.routing import kamailio_restore as restore
from services.call_manager.routing import kamailio_stray as stray
from services.call_manager.routing import kamailio_subscriptions as subscriptions
from services.call_manager.routing.worker import tables

ALLOW = (
    "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, REFER, INFO, NOTIFY,"
    " MESSAGE, SUBSCRIBE\r\n"
)
KNOWN = frozenset(("INVITE", "ACK", "CANCEL", "BYE", "REGISTER", "OPTIONS", "SUBSCRIBE", "PUBLISH"))


def mod_init() -> Kamailio:
    """Called once, before Kamailio forks."""
    # What is loaded stays; looking it through for garbage in the middle of calls finds nothing.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 1000)
    os.register_at_fork(before=_leave_openssl)
    return Kamailio()


def _leave_openssl() -> None:
    """Have no worker begin with what OpenSSL keeps for the thread of the process it comes from.

    Kamailio puts OpenSSL's memory where all workers see it, and OpenSSL 3 keeps a thread's errors
    there, too. Workers that inherit them free each other's, and a few broken handshakes at once
    end Kamailio (its issue 3791; 5.8 has ``tls_threads_mode`` for it, 5.6 nothing).
    """
    ctypes.CDLL("libcrypto.so.3").OPENSSL_thread_stop()


class Kamailio:
    def child_init(self, _rank: int) -> int:
        return 0

    def ksr_request_route(self, _message: object) -> int:
        try:
            _request()
        except Exception:  # noqa: BLE001 - a worker must live, and the peer must get an answer
            _report()
            if not KSR.is_method("ACK"):
                KSR.sl.send_reply(500, "Server Internal Error")
        return 1

    def ksr_must_wait(self, _message: object) -> int:
        """Whether a reply can go on to tm now, see kamailio_media.py."""
        return _guarded(lambda: dropping.drop() if media.must_wait() else None)

    def ksr_stray_reply(self, _message: object) -> int:
        """Whether a reply to what we did not send may go on, see kamailio_stray.py."""
        return 1 if _stray_passes() else -1

    def ksr_branch(self, _message: object) -> int:
        return _guarded(calls.branch)

    def ksr_reply(self, _message: object) -> int:
        return _guarded(calls.reply)

    def ksr_failure(self, _message: object) -> int:
        return _guarded(calls.failure)

    def ksr_dialog_again(self, _message: object) -> int:
        return _guarded(lambda: dialogs.request(KSR.pv.gete("$rm")))

    def ksr_dialog_reply(self, _message: object) -> int:
        return _guarded(dialogs.reply)

    def ksr_dialog_failure(self, _message: object) -> int:
        return _guarded(heirs.failure)

    def ksr_message_reply(self, _message: object) -> int:
        return _guarded(calls.clean_reply)

    def ksr_dialog_event(self, _message: object, name: str) -> int:
        if name == "dialog:start":
            return _guarded(events.answered)
        if name in ("dialog:end", "dialog:failed"):
            return _guarded(lambda: events.ended(answered=name == "dialog:end"))
        return 1

    def ksr_tick(self, _message: object, _name: str) -> int:
        return _guarded(edge.tick)

    def ksr_xhttp_event(self, _message: object, _name: str) -> int:
        """HTTP on the SIP ports is a WebSocket's first request (RFC 7118) or nothing for us."""
        if KSR.hdr.gete("Upgrade").lower() == "websocket":
            if "sip" not in KSR.hdr.gete("Sec-WebSocket-Protocol").lower():
                KSR.xhttp.xhttp_reply(400, "Subprotocol sip Is Missing", "", "")
            elif KSR.websocket.handle_handshake() > 0:
                return 1
            return 1
        KSR.xhttp.xhttp_reply(404, "Not Found", "", "")
        return 1


def _stray_passes() -> bool:
    try:
        return stray.passes()
    except Exception:  # noqa: BLE001 - as above
        _report()
        return False


def _report() -> None:
    # KEMI takes no text with a NUL in it, and what failed may be what a peer sent.
    KSR.err(f"routing failed: {traceback.format_exc()}\n".replace("\0", "?"))


def _guarded(step: Callable[[], object]) -> int:
    """1, or -1, which is Kamailio's no, where the message must not go on."""
    try:
        # Timers run in processes that never see a request, which brings the tables up to date.
        tables.refresh_after(0.1)
        step()
    except Exception:  # noqa: BLE001 - as above
        _report()
    return -1 if dropping.wanted() else 1


def _request() -> None:
    if cluster.SEVERAL and _of_the_cluster():
        return
    head = edge.screen()
    if head is None:
        return
    method = head.method
    if method == "CANCEL":
        if KSR.tm.t_check_trans() > 0:
            KSR.tm.t_relay()
        elif cluster.is_recent():
            # It may be of a call that is being taken over.
            if restore.remember_cancel():
                KSR.sl.send_reply(200, "OK")
        else:
            KSR.sl.send_reply(481, "Call/Transaction Does Not Exist")
        return
    if method == "SUBSCRIBE" and subscriptions.are_ours():
        subscriptions.subscribe(head)
        return
    if KSR.siputils.has_totag() > 0:
        dialogs.request(method)
        return
    if method == "ACK":
        # For our own negative reply: the transaction takes it. Nothing else can be meant.
        KSR.tm.t_check_trans()
        return
    if method == "REGISTER":
        edge.register(head)
    elif method == "OPTIONS":
        KSR.hdr.append_to_reply(ALLOW + "Accept: application/sdp\r\n")
        KSR.sl.send_reply(200, "OK")
    elif method == "INVITE":
        if not edge.looped(head):
            calls.invite(head)
    elif method == "MESSAGE":
        if not edge.looped(head):
            calls.message(head)
    else:
        _refuse(method)


def _of_the_cluster() -> bool:
    """Whether the request was of another Call Manager's Kamailio, or of our agent."""
    if cluster.is_peers_port():
        tables.refresh()
        if cluster.is_peer() and KSR.is_method("KDMQ") > 0:
            KSR.dmq.handle_message()
        return True
    if restore.is_asked():
        tables.refresh()
        restore.restore()
        return True
    return False


def _refuse(method: str) -> None:
    if method in ("BYE", "PRACK", "UPDATE", "INFO"):
        KSR.sl.send_reply(481, "Call/Transaction Does Not Exist")
    elif method == "REFER":
        KSR.sl.send_reply(403, "REFER Outside a Dialog")
    elif method == "NOTIFY" and KSR.hdr.gete("Event").lower() == "keep-alive":
        KSR.sl.send_reply(200, "OK")
    elif method in ("SUBSCRIBE", "PUBLISH", "NOTIFY"):
        KSR.hdr.append_to_reply(subscription.ALLOWED)
        KSR.sl.send_reply(489, "Bad Event")
    else:
        KSR.hdr.append_to_reply(ALLOW)
        code, reason = (405, "Method Not Allowed") if method in KNOWN else (501, "Not Implemented")
        KSR.sl.send_reply(code, reason)

"""REFER both ways (RFC 3515, 3891, 3892, 4488), and INFO, MESSAGE and NOTIFY that come."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from services.core.sip.errors import CallEndedError, MalformedError
from services.core.sip.events import (
    InfoReceived,
    MessageReceived,
    NotifyReceived,
    Referred,
)
from services.core.sip.message import REASONS, Fields, Request, Response
from services.core.sip.uri import parse_address, parse_uri
from services.core.sip.waiting import Promise

if TYPE_CHECKING:
    from services.core.sip.call import Call
    from services.core.sip.exchange import Incoming

PATIENCE = 10.0
"""Seconds that a REFER waits for its answer before it is refused."""
SIPFRAG = "message/sipfrag"
_STATUS = re.compile(rb"SIP/2\.0[ \t]+(\d{3})")
_EVENT_ID = re.compile(r";\s*id\s*=\s*(\d{1,10})")


class Transfers:
    """What comes of the REFERs of a call."""

    __slots__ = ("_call", "_reports", "_waiting")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._waiting: dict[int, Promise[int]] | None = None
        self._reports: deque[tuple[Fields, bytes]] | None = None

    async def refer(self, target: str, replaces: Call | None, referred_by: str) -> int:
        """See `Call.refer`."""
        call = self._call
        call.alive()
        to = f"<{target}>"
        if replaces is not None:
            to = f"<{target}{'&' if '?' in target else '?'}Replaces={quoted_replaces(replaces)}>"
        fields = [("Refer-To", to), *call.own_fields()]
        if referred_by:
            fields.append(("Referred-By", referred_by))
        outcome: Promise[int] = Promise()
        if self._waiting is None:
            self._waiting = {}
        promise = call.ask("REFER", fields)
        cseq = call.dialog.local_cseq
        self._waiting[cseq] = outcome  # a NOTIFY may be faster than the 202
        try:
            call.judge(await promise.wait())
            status = await outcome.wait()
        finally:
            self._waiting.pop(cseq, None)
        if not status:
            raise CallEndedError("the call ended before its transfer was reported")
        return status

    def ended(self) -> None:
        """The call is over."""
        for outcome in (self._waiting or {}).values():
            outcome.keep(0)

    def request_came(self, incoming: Incoming) -> None:
        """REFER, NOTIFY, INFO or MESSAGE."""
        call, request = self._call, incoming.request
        kind = request.headers.get("content-type")
        if request.method == "REFER":
            self._refer_came(incoming)
            return
        if request.method == "NOTIFY":
            self._notify_came(incoming)
            return
        incoming.respond(200)
        event = InfoReceived if request.method == "INFO" else MessageReceived
        call.put(event(kind, request.body, request.headers))

    def _notify_came(self, incoming: Incoming) -> None:
        request = incoming.request
        event, _, tail = request.headers.get("event").partition(";")
        incoming.respond(200)
        if event.strip().lower() != "refer":
            kind = request.headers.get("content-type")
            state = request.headers.get("subscription-state")
            self._call.put(NotifyReceived(event.strip(), state, kind, request.body))
            return
        waiting = self._waiting or {}
        found = _EVENT_ID.search(f";{tail}")
        outcome = waiting.get(int(found[1])) if found else next(iter(waiting.values()), None)
        status = _STATUS.match(request.body.lstrip())
        if outcome is None or status is None:
            return
        code = int(status[1])
        if code >= 200:
            outcome.keep(code)

    def _refer_came(self, incoming: Incoming) -> None:
        call, request = self._call, incoming.request
        targets = request.headers.values("refer-to")
        try:
            target, replaces = refer_to(targets[0]) if len(targets) == 1 else ("", "")
        except MalformedError:
            target, replaces = "", ""
        if not target:
            incoming.respond(400, reason="Bad Refer-To")
            return
        event = Referred(call, incoming, target, replaces)
        endpoint = call.agent.endpoint
        endpoint.call_at(endpoint.now + PATIENCE, event.reject)
        if not call.put(event):
            event.reject()

    def report(self, cseq: int, status: int, reason: str) -> None:
        """NOTIFY how the call that a REFER asked for goes."""
        call = self._call
        if call.state == "ended":
            return
        state = "terminated;reason=noresource" if status >= 200 else "active;expires=60"
        fields = [
            ("Event", f"refer;id={cseq}"),
            ("Subscription-State", state),
            ("Content-Type", f"{SIPFRAG};version=2.0"),
            *call.own_fields(),
        ]
        text = f"SIP/2.0 {status} {reason or REASONS.get(status, 'Unknown')}\r\n"
        if self._reports is not None:
            self._reports.append((fields, text.encode()))
            return
        self._reports = deque()
        call.ask("NOTIFY", fields, text.encode()).then(self._reported)

    def _reported(self, response: Response | None) -> None:
        """One at a time: a proxy may have the second overtake the first, which is refused then."""
        del response
        if not self._reports:
            self._reports = None
        elif self._call.state != "ended":
            fields, body = self._reports.popleft()
            self._call.ask("NOTIFY", fields, body).then(self._reported)


def refer_to(value: str) -> tuple[str, str]:
    """Target and Replaces of a Refer-To; `MalformedError` if it is no SIP URI."""
    uri = parse_uri(parse_address(value).uri)
    replaces = ""
    for part in uri.headers.split("&"):
        name, _, text = part.partition("=")
        if name.lower() == "replaces":
            replaces = unquote(text)
    return str(uri._replace(headers="")), replaces


def replaces_of(call: Call) -> str:
    """The Replaces field (RFC 3891) by which the other party of ``call`` knows it."""
    dialog = call.dialog
    return f"{dialog.call_id};to-tag={dialog.remote_tag};from-tag={dialog.local_tag}"


def quoted_replaces(call: Call) -> str:
    """`replaces_of`, as a header in a URI."""
    return quote(replaces_of(call), safe="")


def parse_replaces(request: Request) -> tuple[str, str, str, bool] | None:
    """Call-ID, our tag, the other's, and whether the dialog must be early; None without Replaces.

    `MalformedError` if it cannot be read.
    """
    values = request.headers.all("replaces")
    if not values:
        return None
    call_id, *rest = [part.strip() for part in values[0].split(";")]
    fields = {
        name.strip().lower(): value.strip() for name, _, value in (p.partition("=") for p in rest)
    }
    if len(values) > 1 or not (call_id and fields.get("to-tag") and fields.get("from-tag")):
        raise MalformedError("bad Replaces")
    return call_id, fields["to-tag"], fields["from-tag"], "early-only" in fields

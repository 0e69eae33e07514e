"""INVITE and UPDATE inside a dialog, both ways, and the ACKs of a call's INVITEs.

RFC 3261 sections 13.2.2.4, 13.3.1.4 and 14, RFC 3311 section 5, RFC 6337.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import trio

from services.core.sip import sdp
from services.core.sip import session_timer as timers
from services.core.sip.digest import authorization
from services.core.sip.errors import MalformedError, StateError
from services.core.sip.events import Answered, Offered
from services.core.sip.message import Request, Response
from services.core.sip.waiting import Promise

if TYPE_CHECKING:
    from services.core.sip.call import Call
    from services.core.sip.exchange import Incoming, Outgoing

log = logging.getLogger(__name__)

SDP = "application/sdp"
KEPT = 4
"""ACKs kept to be sent again: a 2xx may come late, when the next INVITE has its own."""
PATIENCE = 10.0
"""Seconds that an offer of theirs waits for its answer before it is refused."""


class Offers:
    """``owing``: their offer came in a 2xx, and the ACK waits for our answer."""

    __slots__ = (
        "_acks", "_call", "_idle", "_lock", "_offered", "_outgoing", "_waiting", "after_ack",
        "owing",
    )  # fmt: skip

    def __init__(self, call: Call) -> None:
        self._call = call
        self.owing: Literal[False] | int = False
        self.after_ack: Callable[[], None] | None = None
        self._acks: dict[int, bytes] = {}
        self._waiting: Incoming | None = None
        self._offered: Incoming | None = None
        self._outgoing: Outgoing | None = None
        self._lock: trio.Lock | None = None
        self._idle: Promise[None] = Promise()
        self._idle.keep(None)

    # Our 2xx and its ACK

    @property
    def unacknowledged(self) -> bool:
        """Our 2xx has no ACK yet."""
        return self._waiting is not None

    def accepted(self, incoming: Incoming) -> None:
        """Our 2xx to an INVITE went out: its ACK is waited for."""
        self._waiting = incoming
        self._busy()
        incoming.listener = self._transaction_says

    def _transaction_says(self, what: str) -> None:
        if what == "cancelled" and self._offered is not None:
            self._refuse(self._offered, 487, "")
        elif what == "expired" and self._waiting is not None:
            self._waiting = None
            self._acknowledged(None)
            self._call.fail("no ACK")

    def _busy(self) -> None:
        """An INVITE of theirs is going on: ours wait."""
        if self._idle.kept:
            self._idle = Promise()

    def ack_came(self, request: Request) -> None:
        """An ACK of a 2xx."""
        waiting = self._waiting
        if waiting is not None and request.cseq == waiting.request.cseq:
            waiting.acknowledged()
            self._waiting = None
            self._acknowledged(request.sdp)

    def _acknowledged(self, answer: str | None) -> None:
        call, after = self._call, self.after_ack
        if after is not None:
            self.after_ack = None
            after()
            call.agent.forget(call)
            return
        if call.negotiation.pending == "ours" and self._outgoing is None:
            if answer is None:
                call.negotiation.withdrawn()
                call.fail("no answer in the ACK")
            else:
                call.negotiation.answered(answer)
                call.put(Answered(answer))
        self._idle.keep(None)
        call.changed()

    # Offers of ours

    async def propose(self, method: str, description: str | None) -> str:
        """Send an offer, or ask for one; returns the answer, or theirs. See `Call.reinvite`."""
        call = self._call
        if self._lock is None:
            self._lock = trio.Lock()
        async with self._lock:
            while True:
                call.alive()
                await self._idle.wait()
                call.alive()
                if self.owing is not False:
                    raise StateError("their offer is to be answered first")
                stamped = None if description is None else call.negotiation.offer(description)
                response = await self._send(method, stamped)
                if response is not None and response.status == 491:
                    await trio.sleep(random.uniform(0.0, 2.0))  # noqa: S311 - RFC 3261 section 14.1
                    continue
                accepted = call.judge(response)
                call.alive()
                if accepted.sdp is None:
                    raise StateError("a 2xx without a description")
                return accepted.sdp

    async def refresh(self) -> None:
        """A re-INVITE that changes nothing: a session refresh for who cannot UPDATE."""
        await self.propose("INVITE", self._call.local_sdp)

    async def _send(self, method: str, stamped: str | None) -> Response | None:
        """The final response; what a 2xx says has been taken in."""
        promise: Promise[Response | None] = Promise()
        self._transmit(method, stamped, promise, (), self._call.refresh.minimum)
        try:
            return await promise.wait()
        except trio.Cancelled:
            if self._outgoing is not None and method == "INVITE":
                self._outgoing.cancel()
            promise.then(self._unwanted)
            raise

    def _unwanted(self, response: Response | None) -> None:
        """A 2xx that crossed its CANCEL: an offer in it is answered with what we have."""
        del response
        if self.owing is not False:
            self.answer(self._call.local_sdp)

    def _transmit(
        self,
        method: str,
        stamped: str | None,
        promise: Promise[Response | None],
        authorized: tuple[tuple[str, str], ...],
        least: int,
    ) -> None:
        call = self._call
        uri, fields = call.dialog.fields(method)
        cseq = call.dialog.local_cseq
        fields += [
            *call.own_fields(prack=False),
            *call.refresh.request_fields(least),
            *authorized,
        ]
        if stamped is not None:
            fields.append(("Content-Type", SDP))

        def came(response: Response | None) -> None:
            if response is not None and response.status < 200:
                return
            if response is not None and 200 <= response.status < 300:
                if promise.kept:
                    self.again(cseq)
                else:
                    self._answered(method, cseq, stamped, response)
            elif not promise.kept:
                self._outgoing = None
                if response is not None and not call.ended:
                    if response.status == 422 and least < timers.minimum(response):
                        self._transmit(
                            method, stamped, promise, authorized, timers.minimum(response)
                        )
                        return
                    if response.status in (401, 407) and call.credentials and not authorized:
                        field = authorization(response, method, uri, call.credentials)
                        if field is not None:
                            self._transmit(method, stamped, promise, (field,), least)
                            return
                if stamped is not None:
                    call.negotiation.withdrawn()
            promise.keep(response)

        body = stamped.encode() if stamped is not None else b""
        call.changed()
        self._outgoing = call.agent.send(method, uri, fields, body, call.dialog.next_hop, came)

    def _answered(self, method: str, cseq: int, stamped: str | None, response: Response) -> None:
        call = self._call
        self._outgoing = None
        if call.ended is not None:
            if method == "INVITE":
                self.acknowledge(cseq)
            return
        call.dialog.refresh(response)
        call.refresh.take(timers.of_response(response))
        description = response.sdp
        if stamped is not None:
            if description is None:
                call.negotiation.withdrawn()
            else:
                call.negotiation.answered(description)
            if method == "INVITE":
                self.acknowledge(cseq)
        elif description is None:
            self.acknowledge(cseq)
        else:
            call.negotiation.offered(description)
            self.owing = cseq
        call.changed()

    def again(self, cseq: int) -> bool:
        """Whether a 2xx is one that came before: its ACK was lost, and is sent again."""
        ack = self._acks.get(cseq)
        if ack is not None:
            self._call.agent.resend(ack, self._call.dialog.next_hop)
            return True
        return cseq == self.owing

    def acknowledge(self, cseq: int, description: str | None = None) -> None:
        """Send the ACK of a 2xx to the INVITE with ``cseq``."""
        call = self._call
        uri, fields = call.dialog.fields("ACK", cseq)
        if description is not None:
            fields.append(("Content-Type", SDP))
        body = description.encode() if description is not None else b""
        if len(self._acks) >= KEPT:
            del self._acks[next(iter(self._acks))]
        self._acks[cseq] = call.agent.acknowledge(uri, fields, body, call.dialog.next_hop)

    def owe(self, cseq: int) -> None:
        """The 2xx of the first INVITE had an offer."""
        self.owing = cseq

    def answer(self, description: str) -> None:
        """See `Call.answer`."""
        cseq = self.owing
        if cseq is False:
            raise StateError("there is no offer to answer")
        stamped = self._call.negotiation.answer(description)
        self.owing = False
        self.acknowledge(cseq, stamped)
        self._call.changed()

    def settle(self) -> None:
        """Before a BYE: what waits for an answer is refused, what we owe is said."""
        if self.owing is not False:
            try:
                refusal = sdp.refusal(self._call.negotiation.proposed)
                self.answer(refusal)
            except MalformedError:
                self.acknowledge(self.owing)
                self.owing = False
        if self._offered is not None:
            self._refuse(self._offered, 487, "")
        if self._outgoing is not None and self._outgoing.method == "INVITE":
            self._outgoing.cancel()

    def ended(self) -> None:
        """The call is over."""
        if self._offered is not None:
            self._refuse(self._offered, 487, "")
        self._idle.keep(None)

    # Offers of theirs

    def request_came(self, incoming: Incoming) -> None:
        """A re-INVITE or an UPDATE."""
        call, request = self._call, incoming.request
        if timers.too_short(request):
            incoming.respond(422, fields=[("Min-SE", str(timers.MINIMUM))])
            return
        if request.method == "UPDATE" and request.sdp is None:
            self._accept(incoming, None)
            return
        if call.state != "confirmed" and request.method == "INVITE":
            incoming.respond(500, fields=[("Retry-After", "1")])
            return
        if self._offered is not None or self._waiting is not None:
            incoming.respond(500, fields=[("Retry-After", str(random.randint(0, 10)))])  # noqa: S311
            return
        if call.negotiation.pending or self._outgoing is not None:
            incoming.respond(491)
            return
        offered = request.sdp
        if offered is not None:
            call.negotiation.offered(offered)
            if call.negotiation.unchanged(offered):
                self._accept(incoming, call.local_sdp)
                return
            if call.answers is not None:
                try:
                    answer = call.answers(offered)
                except MalformedError:
                    self._refuse(incoming, 488, "")
                except Exception:  # a fault there may not leave the offer pending
                    log.exception("call %s", call.call_id)
                    self._refuse(incoming, 500, "")
                else:
                    self._accept(incoming, answer)
                return
        elif call.answers is not None:
            self._accept(incoming, call.local_sdp)
            return
        self._offered = incoming
        self._busy()
        incoming.listener = self._transaction_says
        call.agent.endpoint.call_at(
            call.agent.endpoint.now + PATIENCE, lambda: self._impatient(incoming)
        )
        if not call.put(Offered(incoming, self._accept, self._refuse)):
            self._refuse(incoming, 488, "")

    def _impatient(self, incoming: Incoming) -> None:
        if self._offered is incoming:
            self._refuse(incoming, 488, "")

    def _accept(self, incoming: Incoming, description: str | None) -> None:
        call, request = self._call, incoming.request
        body = ""
        fields = call.own_fields()
        if description is not None:
            ours = request.sdp is None
            body = (call.negotiation.offer if ours else call.negotiation.answer)(description)
            fields.append(("Content-Type", SDP))
        self._offered = None
        call.dialog.refresh(request)
        timer = timers.of_request(request, call.refresh.wanted)
        fields += timer.response_fields()
        call.refresh.take(timer)
        if request.method == "INVITE":
            self.accepted(incoming)
        else:
            self._idle.keep(None)
        incoming.respond(200, fields=fields, body=body.encode())
        call.changed()

    def _refuse(self, incoming: Incoming, status: int, reason: str) -> None:
        self._offered = None
        if incoming.request.sdp is not None:
            self._call.negotiation.withdrawn()
        incoming.respond(status, reason=reason)
        self._idle.keep(None)

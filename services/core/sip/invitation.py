"""An INVITE that asks for a new call, and what can be said to it.

RFC 3261 sections 9.2 and 13.3, RFC 3262 section 3, RFC 3891.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from services.core.sip import session_timer as timers
from services.core.sip.call import Call
from services.core.sip.dialog import Dialog, new_tag, of_invite
from services.core.sip.errors import CallEndedError, MalformedError, StateError
from services.core.sip.events import Ended
from services.core.sip.export import exported_invitation
from services.core.sip.message import Fields, Headers, Request
from services.core.sip.negotiation import Negotiation
from services.core.sip.offers import SDP
from services.core.sip.uri import Address, Uri, parse_address, parse_uri
from services.core.sip.waiting import Promise

if TYPE_CHECKING:
    from services.core.sip.agent import UserAgent
    from services.core.sip.exchange import Incoming

TRYING = 0.2
"""Seconds after which an INVITE without an answer gets 100 (RFC 3261 section 17.2.1)."""


class Invitation:
    """``offer`` is None where the caller wants ours: `accept` takes that then.

    ``replaces`` is the call whose place this one takes (RFC 3891): it is hung up when this one is
    accepted.
    """

    def __init__(self, agent: UserAgent, incoming: Incoming, dialog: Dialog | None = None) -> None:
        self._agent = agent
        self._incoming = incoming
        incoming.listener = self._transaction_says
        request = incoming.request
        self.offer = request.sdp
        self.replaces: Call | None = None
        self.call = Call(agent, dialog or of_invite(request, new_tag()), Negotiation())
        self.call.peer_allows = request.headers.tokens("allow")
        self.call.prack = self._prack_came
        self.call.given_up = self._give_up
        if self.offer is not None:
            self.call.negotiation.offered(self.offer)
        self._given_up: Promise[str] = Promise()
        self._final = self._said = False
        self._rseq = secrets.randbelow(1 << 30)
        self._unpracked: Promise[bool] | None = None
        agent.register(self.call)
        agent.endpoint.call_at(agent.endpoint.now + TRYING, self._trying)

    @property
    def request(self) -> Request:
        """The INVITE."""
        return self._incoming.request

    @property
    def caller(self) -> Address:
        """From: who says that they call. It is the Call Manager that vouches for it."""
        return parse_address(self.headers.get("from"))

    @property
    def called(self) -> Uri:
        """The Request-URI: where the Call Manager sent the call."""
        return parse_uri(self.request.uri)

    @property
    def headers(self) -> Headers:
        """All header fields."""
        return self._incoming.request.headers

    @property
    def call_id(self) -> str:
        """The Call-ID."""
        return self.call.call_id

    def export(self) -> bytes:
        """What `UserAgent.adopt_invitation` of another process takes, as JSON.

        `StateError` if it has been answered or given up.
        """
        if self.state != "waiting":
            raise StateError(f"an invitation that is {self.state} cannot be adopted")
        return exported_invitation(self.request, self._incoming.flow, self.call.dialog)

    def release(self) -> None:
        """Leave it to another process, which has what `export` gave: nothing is answered here."""
        self._final = True
        self._incoming.release()
        self.call.release()

    @property
    def state(self) -> Literal["waiting", "answered", "given up"]:
        """Whether something can still be said to it."""
        if self._given_up.kept:
            return "given up"
        return "answered" if self._final else "waiting"

    async def wait_given_up(self) -> str:
        """Wait until the caller gives up; returns how: CANCEL, BYE or no PRACK."""
        return await self._given_up.wait()

    def ring(self, status: int = 180, reason: str = "", headers: Fields = ()) -> None:
        """A provisional response without a description."""
        self._provisional(status, reason, headers, "", reliable="100rel" in self._required)

    async def progress(
        self,
        sdp: str,
        *,
        status: int = 183,
        headers: Fields = (),
        reliable: bool | None = None,
    ) -> None:
        """Early media: ``sdp`` answers the offer. Returns when the caller has acknowledged it.

        ``reliable`` (RFC 3262) is as the caller would have it, if it is None. `StateError` if the
        caller wants our offer and no reliable responses: there is no way then.
        """
        able = "100rel" in self._required | self.headers.tokens("supported")
        reliable = able if reliable is None else reliable and able
        await self._pracked()
        self._alive()
        negotiation = self.call.negotiation
        if self.offer is None and not reliable:
            raise StateError("the caller takes no reliable provisional responses")
        if not reliable:
            body = self._preview(sdp)
        elif negotiation.pending == "theirs":
            body = negotiation.answer(sdp)
        elif not negotiation.local and not negotiation.pending:
            body = negotiation.offer(sdp)
        else:
            body = ""  # offer and answer are done (RFC 3262 section 5)
        self._provisional(status, "", headers, body, reliable=reliable)
        await self._pracked()

    def reject(self, status: int = 486, reason: str = "", headers: Fields = ()) -> None:
        """A final response of 300 to 699; nothing happens if there was one, or the caller left."""
        if self.state != "waiting":
            return
        self._final = True
        tag = self.call.dialog.local_tag
        self._incoming.respond(status, tag=tag, reason=reason, fields=headers)
        self.call.end(Ended(by="us", reason=f"rejected with {status}"))

    @asynccontextmanager
    async def accept(
        self, sdp: str, headers: Fields = (), *, cancel_on_end: bool = True
    ) -> AsyncGenerator[Call]:
        """Answer the call; ``sdp`` is the answer, or the offer where there was none.

        The block is cancelled when the call ends, unless ``cancel_on_end`` is false; the context
        manager swallows that. Leaving the block hangs up. After `progress` gave the answer,
        ``sdp`` is not sent. `CallEndedError` if the caller left.
        """
        await self._pracked()
        self._alive()
        call, request = self.call, self.request
        negotiation = call.negotiation
        body = ""
        if negotiation.pending == "theirs":
            body = negotiation.answer(sdp)
        elif not negotiation.local and not negotiation.pending:
            body = negotiation.offer(sdp)
        self._final = True
        call.prack = call.given_up = None
        timer = timers.of_request(request, self._agent.session_expires)
        fields = [*self._agent.own_fields(), *timer.response_fields(), *headers]
        if body:
            fields.append(("Content-Type", SDP))
        call.confirmed(request)
        call.offers.accepted(self._incoming)
        call.refresh.take(timer)
        self._incoming.respond(200, tag=call.dialog.local_tag, fields=fields, body=body.encode())
        if self.replaces is not None:
            self.replaces.hang_up('SIP;cause=200;text="Replaced"')
        call.changed()
        async with call.living(cancel=cancel_on_end):
            yield call

    # Inside

    @property
    def _required(self) -> frozenset[str]:
        return self.headers.tokens("require")

    def _alive(self) -> None:
        if self.state != "waiting":
            raise CallEndedError(f"the invitation is {self.state}")

    def _trying(self) -> None:
        if not self._said and not self._final:
            self._incoming.respond(100)

    def _preview(self, sdp: str) -> str:
        """The answer of an unreliable response, which the 2xx has to say again."""
        negotiation = self.call.negotiation
        if negotiation.pending == "theirs":
            stamped = negotiation.answer(sdp)
            negotiation.pending, negotiation.proposed = "theirs", negotiation.remote
            return stamped
        return negotiation.local

    def _provisional(
        self, status: int, reason: str, headers: Fields, body: str, *, reliable: bool
    ) -> None:
        self._alive()
        self._said = True
        fields = [*self._agent.own_fields(), *headers]
        if reliable and status > 100:
            if self._unpracked is not None and not self._unpracked.kept:
                return  # RFC 3262 section 3: one at a time
            self._rseq += 1
            self._unpracked = Promise()
            fields += [("Require", "100rel"), ("RSeq", str(self._rseq))]
        if body:
            fields.append(("Content-Type", SDP))
        self._incoming.respond(
            status,
            tag=self.call.dialog.local_tag,
            reason=reason,
            fields=fields,
            body=body.encode(),
            prack=reliable,
        )

    async def _pracked(self) -> None:
        if self._unpracked is not None:
            await self._unpracked.wait()

    def _prack_came(self, prack: Incoming) -> None:
        request, negotiation = prack.request, self.call.negotiation
        wanted = [str(self._rseq), str(self.request.cseq), "INVITE"]
        waiting = self._unpracked
        if waiting is None or waiting.kept or request.headers.get("rack").split() != wanted:
            prack.respond(481)
            return
        self._incoming.pracked()
        description = request.sdp
        if description is not None and negotiation.pending == "ours":
            negotiation.answered(description)
        elif description is not None:
            prack.respond(488)  # a second offer before the call is up
            waiting.keep(True)
            return
        prack.respond(200)
        waiting.keep(True)

    def _transaction_says(self, what: str) -> None:
        if self._final:
            return
        if what == "cancelled":
            self._give_up(487, "CANCEL")
        elif what == "expired":
            self._give_up(504, "no PRACK")

    def _give_up(self, status: int, why: str) -> None:
        if self.state != "waiting":
            return
        self._given_up.keep(why)
        self._incoming.respond(status, tag=self.call.dialog.local_tag)
        if self._unpracked is not None:
            self._unpracked.keep(False)
        by: Literal["them", "failure"] = "failure" if why == "no PRACK" else "them"
        self.call.end(Ended(by=by, reason=why))


def unfit(request: Request) -> tuple[int, list[tuple[str, str]]] | None:
    """The final response that an INVITE gets at once; None if it is fit to be answered."""
    try:
        parse_uri(request.uri)
    except MalformedError:
        known = request.uri.lower().startswith(("sip:", "sips:"))
        return (400 if known else 416), []
    try:
        parse_uri(parse_address(request.headers.values("contact")[0]).uri)
        parse_address(request.headers.get("from"))
    except (MalformedError, IndexError):
        return 400, []
    if request.body:
        kind = request.content_type()
        if kind != SDP and not kind.startswith("multipart/"):
            return 415, [("Accept", SDP)]
    if timers.too_short(request):
        return 422, [("Min-SE", str(timers.MINIMUM))]
    return None

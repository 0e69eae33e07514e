"""A call that we make: RFC 3261 sections 9.1, 12.1.2 and 13.2, RFC 3262 section 4."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import trio

from services.core.sip import session_timer as timers
from services.core.sip.call import Call
from services.core.sip.dialog import fields_out, new_call_id, new_tag, of_response
from services.core.sip.digest import Credentials, authorization
from services.core.sip.errors import CallRefusedError, RequestFailedError
from services.core.sip.events import Ended
from services.core.sip.message import Fields, Headers, Response
from services.core.sip.negotiation import Negotiation
from services.core.sip.offers import SDP
from services.core.sip.transfer import replaces_of
from services.core.sip.waiting import Promise

if TYPE_CHECKING:
    from services.core.sip.agent import UserAgent
    from services.core.sip.exchange import Outgoing


class Progress(msgspec.Struct, frozen=True):
    """A provisional response; ``sdp`` is that of early media, None without."""

    status: int
    reason: str
    sdp: str | None
    headers: Headers


class Dialling:
    """One INVITE until its end, with all the early dialogs that forking makes of it."""

    def __init__(
        self,
        agent: UserAgent,
        uri: str,
        offer: str | None,
        *,
        caller: str,
        call_id: str,
        headers: Fields,
        replaces: Call | None,
        credentials: Credentials | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._agent = agent
        self._uri = uri
        self._headers = list(headers)
        if replaces is not None:
            self._headers.append(("Replaces", replaces_of(replaces)))
        self._credentials = credentials
        self._on_progress = on_progress
        self._negotiation = Negotiation()
        self._offer = None if offer is None else self._negotiation.offer(offer)
        self._local = f"{caller};tag={new_tag()}"
        self._call_id = call_id or new_call_id(agent.address)
        self._cseq = 1
        self._early: dict[str, Call] = {}
        self._rseq: dict[str, int] = {}
        self._ours: dict[str, Call] = {}
        self._outgoing: Outgoing
        self._least = timers.MINIMUM
        self._given_up = False
        self.outcome: Promise[Call | Response | None] = Promise()

    @asynccontextmanager
    async def call(self, *, cancel_on_end: bool) -> AsyncGenerator[Call]:
        """See `UserAgent.dial`."""
        self._send(())
        try:
            outcome = await self.outcome.wait()
        except trio.Cancelled:
            self.cancel()
            raise
        if outcome is None:
            raise RequestFailedError(f"{self._uri}: no answer")
        if isinstance(outcome, Response):
            raise CallRefusedError(outcome)
        async with outcome.living(cancel=cancel_on_end) as call:
            yield call

    def cancel(self) -> None:
        """It is not wanted any more: CANCEL, and BYE for an answer that crosses it."""
        self._given_up = True
        if isinstance(call := self.outcome.value, Call):
            call.hang_up()  # it was answered in the same moment
        else:
            self._outgoing.cancel()

    def _send(self, authorized: Fields) -> None:
        fields = [
            *fields_out(
                local=self._local,
                remote=f"<{self._uri}>",
                call_id=self._call_id,
                cseq=self._cseq,
                method="INVITE",
            ),
            # without an offer of ours, theirs could come in a response that PRACK would answer
            *self._agent.own_fields(prack=self._offer is not None),
            *timers.SessionTimer().request_fields(self._agent.session_expires, self._least),
            *self._headers,
            *authorized,
        ]
        if self._offer is not None:
            fields.append(("Content-Type", SDP))
        body = self._offer.encode() if self._offer is not None else b""
        tried = bool(authorized)
        self._outgoing = self._agent.send(
            "INVITE",
            self._uri,
            fields,
            body,
            self._agent.outward(self._uri),
            lambda response: self._came(response, tried=tried),
        )

    def _came(self, response: Response | None, *, tried: bool) -> None:
        if response is not None and response.status < 200:
            if response.status > 100:
                self._provisional(response)
        elif response is not None and response.status < 300:
            self._answered(response)
        elif response is None or self._given_up or not self._try_again(response, tried=tried):
            self._end_early("not answered")
            self.outcome.keep(response)

    def _try_again(self, response: Response, *, tried: bool) -> bool:
        if response.status == 422 and self._least < timers.minimum(response):
            self._least = timers.minimum(response)
            self._cseq += 1
            self._send(())
            return True
        if response.status in (401, 407) and self._credentials is not None and not tried:
            field = authorization(response, "INVITE", self._uri, self._credentials)
            if field is not None:
                self._cseq += 1
                self._send((field,))
                return True
        return False

    def _early_call(self, response: Response) -> Call:
        call = self._early.get(response.to_tag)
        if call is None:
            dialog = of_response(self._local, self._cseq, response)
            dialog.target = dialog.target or self._uri
            negotiation = msgspec.structs.replace(self._negotiation)
            call = Call(self._agent, dialog, negotiation, self._credentials)
            call.peer_allows = response.headers.tokens("allow")
            self._early[response.to_tag] = call
            self._agent.register(call)
        return call

    def _provisional(self, response: Response) -> None:
        if self.outcome.kept:
            return
        number = response.headers.get("rseq")
        if response.to_tag:
            call = self._early_call(response)
            reliable = "100rel" in response.headers.tokens("require") and number.isdecimal()
            if reliable and len(number) < 11 and not self._prack(call, response, int(number)):
                return
        if self._on_progress is not None and not self._given_up:
            self._on_progress(
                Progress(response.status, response.reason, response.sdp, response.headers)
            )

    def _prack(self, call: Call, response: Response, number: int) -> bool:
        """Whether the response is new and in order (RFC 3262 section 4)."""
        last = self._rseq.get(response.to_tag)
        if last is not None and number != last + 1:
            return False
        self._rseq[response.to_tag] = number
        answer = response.sdp
        if answer is not None and call.negotiation.pending == "ours":
            call.negotiation.answered(answer)
        call.ask("PRACK", [("RAck", f"{number} {self._cseq} INVITE")])
        return True

    def _answered(self, response: Response) -> None:
        known = self._ours.get(response.to_tag)
        if known is not None:
            known.offers.again(self._cseq)
            return
        call = self._early_call(response)
        del self._early[response.to_tag]
        self._ours[response.to_tag] = call
        fresh = of_response(self._local, self._cseq, response)
        call.dialog.routes = fresh.routes
        call.dialog.target = fresh.target or call.dialog.target
        call.confirmed(response)
        wanted = not (self.outcome.kept or self._given_up)
        if self._take(call, response) and wanted:
            call.refresh.take(timers.of_response(response))
            self._end_early("answered elsewhere")
            call.changed()
            self.outcome.keep(call)
            return
        call.hang_up()
        if not wanted:
            return
        self._end_early("no session")
        self.outcome.keep(None)

    def _take(self, call: Call, response: Response) -> bool:
        """Offer and answer of the 2xx; whether there is a session."""
        description = response.sdp
        negotiation = call.negotiation
        if self._offer is None and description is not None:
            negotiation.offered(description)
            call.offers.owe(self._cseq)
            return True
        if negotiation.pending == "ours":
            if description is not None:
                negotiation.answered(description)
            else:
                negotiation.withdrawn()
        call.offers.acknowledge(self._cseq)
        return bool(negotiation.remote)

    def _end_early(self, why: str) -> None:
        for call in list(self._early.values()):
            call.end(Ended(by="us", reason=why))
        self._early.clear()

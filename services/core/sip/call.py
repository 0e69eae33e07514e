"""A call: what can be asked of it, and what comes in it. RFC 3261 sections 12 to 15."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

import trio

from services.core.sip import sdp as descriptions
from services.core.sip.dialog import Dialog
from services.core.sip.digest import Credentials
from services.core.sip.errors import (
    CallEndedError,
    CallRefusedError,
    RequestFailedError,
    StateError,
)
from services.core.sip.events import Ended, Event
from services.core.sip.export import exported_call
from services.core.sip.message import Fields, Request, Response
from services.core.sip.negotiation import Negotiation
from services.core.sip.offers import Offers
from services.core.sip.refresh import Refresh
from services.core.sip.transfer import Transfers
from services.core.sip.waiting import Mailbox, Promise

if TYPE_CHECKING:
    from services.core.sip.agent import UserAgent
    from services.core.sip.exchange import Incoming

MAX_EVENTS = 256
GONE = frozenset((404, 408, 410, 416, 481, 482, 484, 485, 502, 604))
"""Responses inside a dialog that end it (RFC 3261 section 12.2.1.2, RFC 5057 section 5.1)."""


class Call:
    """A dialog that an INVITE made. It lives as long as the ``async with`` that gave it.

    ``answers``, if set, is given each new offer of the other party and returns the answer; so no
    `Offered` comes. An offer that changes nothing is always answered by the user agent itself.
    """

    def __init__(
        self,
        agent: UserAgent,
        dialog: Dialog,
        negotiation: Negotiation,
        credentials: Credentials | None = None,
    ) -> None:
        self.agent = agent
        self.dialog = dialog
        self.negotiation = negotiation
        self.credentials = credentials
        self.state: Literal["early", "confirmed", "ended"] = "early"
        self.ended: Ended | None = None
        self.answers: Callable[[str], str] | None = None
        self.peer_allows: frozenset[str] = frozenset()
        self.offers = Offers(self)
        self.refresh = Refresh(self)
        self.transfers = Transfers(self)
        self.prack: Callable[[Incoming], None] | None = None
        self.given_up: Callable[[int, str], None] | None = None
        self._mailbox: Mailbox[Event] = Mailbox(MAX_EVENTS)
        self._over: Promise[Ended] = Promise()
        self.scope: trio.CancelScope | None = None
        self._released = False

    # What it is

    @property
    def call_id(self) -> str:
        """The Call-ID."""
        return self.dialog.call_id

    @property
    def local_sdp(self) -> str:
        """Our description, as last agreed; empty before that."""
        return self.negotiation.local

    @property
    def remote_sdp(self) -> str:
        """Theirs, as last agreed; empty before that."""
        return self.negotiation.remote

    @property
    def offer(self) -> str | None:
        """Their offer that waits for `answer`, where we asked for one; None if there is none."""
        return self.negotiation.proposed if self.offers.owing else None

    def events(self) -> AsyncIterator[Event]:
        """What happens, in order; it ends after `Ended`."""
        return self._mailbox

    async def wait_ended(self) -> Ended:
        """Wait until the call is over."""
        return await self._over.wait()

    # What can be asked of it

    async def reinvite(self, sdp: str) -> str:
        """Offer ``sdp``; returns the answer.

        `CallRefusedError`: what was agreed before holds. `StateError`: the 2xx had no answer. Glare
        (491) is waited out.
        """
        return await self.offers.propose("INVITE", sdp)

    async def update(self, sdp: str) -> str:
        """As `reinvite`, by an UPDATE (RFC 3311), which also early dialogs take."""
        return await self.offers.propose("UPDATE", sdp)

    async def request_offer(self) -> str:
        """Ask for the other party's offer, by a re-INVITE without one; then `answer` it."""
        return await self.offers.propose("INVITE", None)

    def answer(self, sdp: str) -> None:
        """Answer the `offer` that we asked for: it goes out in the ACK."""
        self.offers.answer(sdp)

    async def hold(self) -> str:
        """Ask the other party not to send; returns the answer (RFC 3264 section 8.4)."""
        return await self.reinvite(descriptions.with_direction(self.local_sdp, "sendonly"))

    async def resume(self) -> str:
        """Both may send again; returns the answer."""
        return await self.reinvite(descriptions.with_direction(self.local_sdp, "sendrecv"))

    async def refer(
        self, target: str, *, replaces: Call | None = None, referred_by: str = ""
    ) -> int:
        """Have the other party call ``target``; returns the status that its call came to.

        ``replaces`` is our call with the target that the new one takes the place of (RFC 3891).
        `CallRefusedError` if it will not; `CallEndedError` if it left without saying how it went.
        """
        return await self.transfers.refer(target, replaces, referred_by)

    async def info(self, content_type: str, body: bytes, headers: Fields = ()) -> None:
        """Send an INFO (RFC 6086)."""
        await self.request("INFO", headers, body, content_type)

    async def message(self, text: str, content_type: str = "text/plain;charset=utf-8") -> None:
        """Send a MESSAGE inside the call (RFC 3428)."""
        await self.request("MESSAGE", (), text.encode(), content_type)

    async def notify(
        self, event: str, body: bytes, content_type: str, state: str = "active"
    ) -> None:
        """Send a NOTIFY inside the call."""
        headers = [("Event", event), ("Subscription-State", state), *self.own_fields()]
        await self.request("NOTIFY", headers, body, content_type)

    async def request(
        self, method: str, headers: Fields = (), body: bytes = b"", content_type: str = ""
    ) -> Response:
        """Send any other request; returns its 2xx.

        `CallRefusedError` for another final response, `RequestFailedError` for none; 408 and 481
        and their like end the call (RFC 5057).
        """
        self.alive()
        fields = [*headers, ("Content-Type", content_type)] if body else list(headers)
        response = await self.ask(method, fields, body).wait()
        return self.judge(response)

    def hang_up(self, reason: str = "") -> None:
        """End it with a BYE; nothing happens if it is over. ``reason`` is a Reason field.

        It returns at once. A BYE may not pass the ACK of our 2xx (RFC 3261 section 15): it waits
        for that. The block is not cancelled by it.
        """
        if self.state == "ended":
            return
        if self.state == "early":
            self.end(Ended(by="us", reason=reason))
            return
        self.offers.settle()
        ended = Ended(by="us", reason=reason)
        if self.offers.unacknowledged:
            self.offers.after_ack = lambda: self._bye(reason)
            self.end(ended, keep=True)
            return
        self._bye(reason)
        self.end(ended)

    def export(self) -> bytes:
        """What `UserAgent.adopt` of another process takes: JSON of 1 to 2 kB.

        An offer that is under way is not in it. `StateError` if the call is early or over.
        """
        if self.state != "confirmed":
            raise StateError(f"a call that is {self.state} cannot be adopted")
        return exported_call(
            self.dialog, self.negotiation, self.refresh.state, sorted(self.peer_allows)
        )

    def release(self) -> None:
        """Leave the call to another process, which has what `export` gave: no BYE is sent."""
        self._released = True
        self.end(Ended(by="us", reason="released"))

    # What the parts of it and the agent say and ask

    def alive(self) -> None:
        """`CallEndedError` if it is over."""
        if self.ended is not None:
            raise CallEndedError(
                f"the call was ended by {self.ended.by} {self.ended.reason}".strip()
            )

    def ask(self, method: str, fields: Fields, body: bytes = b"") -> Promise[Response | None]:
        """Send a request that is no INVITE; its final response comes."""
        uri, own = self.dialog.fields(method)
        self.changed()
        return self.agent.ask(
            method,
            uri,
            [*own, *fields],
            body,
            self.dialog.next_hop,
            self.credentials,
            self._next_cseq,
        )

    def _next_cseq(self) -> int:
        self.dialog.local_cseq += 1
        return self.dialog.local_cseq

    def judge(self, response: Response | None) -> Response:
        """The 2xx; what it raises otherwise see `request`."""
        if response is None:
            self.fail("no answer")
            raise RequestFailedError("no answer inside the call")
        if response.status >= 300:
            if response.status in GONE:
                self.fail(f"{response.status} {response.reason}")
            raise CallRefusedError(response)
        return response

    def fail(self, why: str) -> None:
        """It cannot go on."""
        if self.state == "ended":
            return
        if self.state == "confirmed":
            self._bye(f'SIP;cause=500;text="{why}"')
        self.end(Ended(by="failure", reason=why))

    def put(self, event: Event) -> bool:
        """Something happened; whether somebody may hear of it."""
        return self._mailbox.put(event)

    def own_fields(self, *, prack: bool = True) -> list[tuple[str, str]]:
        """See `UserAgent.own_fields`."""
        return self.agent.own_fields(prack=prack)

    def changed(self) -> None:
        """What `export` gives is another now."""
        if self.agent.on_change is not None and self.state == "confirmed":
            self.agent.on_change(self)

    def confirmed(self, message: Request | Response) -> None:
        """Our 2xx went out, or theirs came."""
        self.state = "confirmed"
        self.peer_allows = message.headers.tokens("allow")

    def request_came(self, incoming: Incoming) -> None:
        """A request inside the dialog."""
        request = incoming.request
        if not self.dialog.in_order(request):
            incoming.respond(500, reason="Out Of Order")
            return
        self.changed()
        match request.method:
            case "INVITE" | "UPDATE":
                self.offers.request_came(incoming)
            case "BYE":
                self._bye_came(incoming)
            case "PRACK" if self.prack is not None:
                self.prack(incoming)
            case "REFER" | "NOTIFY" | "INFO" | "MESSAGE" if self.state == "confirmed":
                self.transfers.request_came(incoming)
            case "OPTIONS":
                incoming.respond(200, fields=self.own_fields())
            case "PRACK" | "REFER" | "NOTIFY" | "INFO" | "MESSAGE" | "SUBSCRIBE":
                incoming.respond(481)
            case _:
                incoming.respond(501, fields=self.own_fields())

    def end(self, ended: Ended, *, keep: bool = False) -> None:
        """It is over; with ``keep`` an ACK is still waited for."""
        if self.state == "ended":
            return
        self.state, self.ended = "ended", ended
        if not keep:
            self.agent.forget(self)
        self.refresh.stop()
        self.offers.ended()
        self.transfers.ended()
        self._mailbox.put(ended, always=True)
        self._mailbox.close()
        self._over.keep(ended)
        if self.scope is not None and ended.by != "us":
            self.scope.cancel()
        if self.agent.on_change is not None:
            self.agent.on_change(self)

    @asynccontextmanager
    async def living(self, *, cancel: bool) -> AsyncGenerator[Call]:
        """The block that it lives in: cancelled when the other party ends it; a BYE at the end."""
        with trio.CancelScope() as scope:
            self.scope = scope if cancel else None
            if cancel and self.ended is not None:
                scope.cancel()
            try:
                yield self
            finally:
                self.scope = None
                if not self._released:
                    self.hang_up()

    # Inside

    def _bye_came(self, incoming: Incoming) -> None:
        headers = incoming.request.headers
        incoming.respond(200)
        if self.given_up is not None:
            self.given_up(487, "BYE")
        self.end(Ended(by="them", reason=headers.get("reason"), headers=headers))

    def _bye(self, reason: str) -> None:
        fields = [("Reason", reason)] if reason else []
        self.ask("BYE", fields)

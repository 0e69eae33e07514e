"""The user agent: its sockets, its calls, and who gets what comes. RFC 3261 section 8."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any

import trio

from services.core.sip.adoption import adopt_call, adopt_invitation
from services.core.sip.call import Call
from services.core.sip.dialling import Dialling, Progress
from services.core.sip.digest import Credentials, authorization
from services.core.sip.endpoint import Endpoint
from services.core.sip.errors import MalformedError, SipError, is_only
from services.core.sip.exchange import NOWHERE, Flow, Incoming, Outgoing, flow_of
from services.core.sip.invitation import Invitation, unfit
from services.core.sip.message import Fields, Request, Response
from services.core.sip.offers import SDP
from services.core.sip.outside import Outside
from services.core.sip.transfer import parse_replaces
from services.core.sip.transport import Transports
from services.core.sip.uri import host_port
from services.core.sip.waiting import Mailbox, Promise

log = logging.getLogger(__name__)

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY, MESSAGE, SUBSCRIBE"
SUPPORTED = frozenset(("100rel", "timer", "replaces"))
CLOSING = 1.0
"""Seconds that the last BYEs have for their answers when the user agent is closed."""
WAITING = 1000
"""Invitations that nobody has taken yet; the next one gets 503."""


class UserAgent:
    """Bound to ``address`` and ``port``, UDP and TCP; port 0 takes one that is free.

    ``manager`` is the Call Manager: where requests outside a dialog go. ``name`` is the user part
    of Contact, by which the Call Manager knows the server. ``session_expires`` are the seconds of
    RFC 4028 that a call may live without a refresh, 0 for ever. ``trusted`` says whose requests are
    served, by address; None: everybody's.

    Attributes to set: ``on_change`` is given each call whose export has changed, and once more when
    it has ended; see also `Outside` at ``outside``.
    """

    def __init__(
        self,
        address: str,
        port: int = 5060,
        *,
        manager: Flow | None = None,
        name: str = "pbx",
        session_expires: int = 1800,
        trusted: Callable[[str], bool] | None = None,
    ) -> None:
        self.address, self.port, self.manager, self.name = address, port, manager, name
        self.session_expires = session_expires
        self.on_change: Callable[[Call], None] | None = None
        self._trusted = trusted
        self._transports = Transports(self._received, self._lost)
        self.endpoint = Endpoint(self._transports.send, trio.current_time, self._sent_by)
        self.endpoint.user = self
        self.outside = Outside(self)
        self._calls: dict[tuple[str, str, str], Call] = {}
        self._invitations: Mailbox[Invitation] = Mailbox(WAITING)
        self._stack = AsyncExitStack()
        self._nursery: trio.Nursery
        self._timer: trio.CancelScope | None = None
        self._fields: list[tuple[str, str]] = []

    async def __aenter__(self) -> UserAgent:
        self.port = await self._transports.open(self.address, self.port)
        self._fields = [
            ("Contact", f"<sip:{self.name}@{host_port(self.address, self.port)}>"),
            ("Allow", ALLOW),
            ("Supported", ", ".join(sorted(SUPPORTED))),
        ]
        self._nursery = await self._stack.enter_async_context(trio.open_nursery())
        self._stack.callback(self._nursery.cancel_scope.cancel)
        self.endpoint.wake = self._wake
        await self._nursery.start(self._transports.run)
        self._nursery.start_soon(self._keep_time)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self._invitations.close()
        for call in list(self._calls.values()):
            if call.given_up is not None:
                call.given_up(480, "closed")
            call.hang_up()
        self.outside.close()
        with trio.move_on_after(CLOSING, shield=True):
            await self._quiet()
        self._transports.close()
        return await self._stack.__aexit__(kind, error, trace)

    # For its user

    @property
    def calls(self) -> tuple[Call, ...]:
        """Those that are up or on their way."""
        return tuple(self._calls.values())

    def invitations(self) -> AsyncIterator[Invitation]:
        """Calls that come in, for one task or several to take."""
        return self._invitations

    async def serve(self, answer: Callable[[Invitation], Awaitable[None]]) -> None:
        """Run ``answer`` in a task of its own for each call that comes in; never returns.

        The task is cancelled when the caller gives up. What it leaves unanswered gets 480, and 488
        if an offer could not be answered. An error in it ends its call alone, and is logged.
        """
        async with trio.open_nursery() as nursery:
            async for invitation in self.invitations():
                nursery.start_soon(self._serve_one, answer, invitation)

    async def _serve_one(
        self, answer: Callable[[Invitation], Awaitable[None]], invitation: Invitation
    ) -> None:
        call = invitation.call
        try:
            with trio.CancelScope() as call.scope:
                if invitation.state != "given up":
                    await answer(invitation)
        except Exception as error:  # a fault in one call may not end the others
            if is_only(error, SipError):
                log.info("call %s: %s", call.call_id, error)
            else:
                log.exception("call %s", call.call_id)
            invitation.reject(488 if is_only(error, MalformedError) else 500)
        finally:
            invitation.reject(480)

    def dial(
        self,
        uri: str,
        offer: str | None,
        *,
        caller: str = "",
        call_id: str = "",
        headers: Fields = (),
        replaces: Call | None = None,
        credentials: Credentials | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        cancel_on_end: bool = True,
    ) -> AbstractAsyncContextManager[Call]:
        """Call ``uri``; the block, as that of `Invitation.accept`, is entered when it is answered.

        ``offer`` None asks for theirs: `Call.answer` comes first in the block then. ``caller`` is
        From, an address or ``"name" <uri>``; ``call_id`` is a new one if it is left out. Cancelled
        means CANCEL, or BYE. `CallRefusedError`, with the final response; `RequestFailedError`
        where nobody answers.
        """
        return Dialling(
            self,
            uri,
            offer,
            caller=caller or f"<sip:{self.name}@{host_port(self.address, 0)}>",
            call_id=call_id,
            headers=headers,
            replaces=replaces,
            credentials=credentials,
            on_progress=on_progress,
        ).call(cancel_on_end=cancel_on_end)

    def adopt(
        self, exported: bytes, *, cancel_on_end: bool = True
    ) -> AbstractAsyncContextManager[Call]:
        """Go on with a call that another process exported; it lives as `Invitation.accept`'s.

        `Call.reinvite` should come first in the block: it tells the other party where we are.
        `MalformedError` if it is no export.
        """
        return adopt_call(self, exported).living(cancel=cancel_on_end)

    def adopt_invitation(self, exported: bytes) -> Invitation:
        """Go on with a call that rang at another process. `MalformedError` if it is no export."""
        return adopt_invitation(self, exported)

    async def request(
        self,
        method: str,
        uri: str,
        *,
        caller: str = "",
        to: str = "",
        headers: Fields = (),
        body: bytes = b"",
        credentials: Credentials | None = None,
    ) -> Response:
        """Send a request outside a dialog; returns its 2xx. ``to`` is To where it is not ``uri``.

        `CallRefusedError` for another final response, `RequestFailedError` for none.
        """
        return await self.outside.request(
            method, uri, caller=caller, to=to, headers=headers, body=body, credentials=credentials
        )

    # What calls need

    def own_fields(self, *, prack: bool = True) -> list[tuple[str, str]]:
        """Contact and what we can; without ``prack`` no reliable provisional responses."""
        if prack:
            return self._fields.copy()
        return [*self._fields[:-1], ("Supported", ", ".join(sorted(SUPPORTED - {"100rel"})))]

    def start_soon(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Do something in the background; an error in it is logged."""
        self._nursery.start_soon(self._quietly, work)

    async def _quietly(self, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            await work()
        except Exception as error:
            if is_only(error, SipError):
                log.info("%s", error)
            else:
                log.exception("in the background")

    def register(self, call: Call) -> None:
        """Requests in its dialog are its own from now on."""
        self._calls[call.dialog.key] = call

    def forget(self, call: Call) -> None:
        """It is over."""
        self._calls.pop(call.dialog.key, None)

    def send(
        self,
        method: str,
        uri: str,
        fields: Fields,
        body: bytes,
        next_hop: str,
        listener: Callable[[Response | None], None],
    ) -> Outgoing:
        """Send a request towards the URI ``next_hop``."""
        flow = self.flow(next_hop)
        outgoing = self.endpoint.request(method, uri, fields, body, flow, listener)
        if flow is NOWHERE:
            self.endpoint.call_at(self.endpoint.now, lambda: self.endpoint.lost(flow))
        return outgoing

    def acknowledge(self, uri: str, fields: Fields, body: bytes, next_hop: str) -> bytes:
        """Send an ACK; it is returned for `resend`."""
        return self.endpoint.acknowledge(uri, fields, body, self.flow(next_hop))

    def resend(self, data: bytes, next_hop: str) -> None:
        """Send an ACK again."""
        self.endpoint.emit(data, self.flow(next_hop))

    def ask(
        self,
        method: str,
        uri: str,
        fields: list[tuple[str, str]],
        body: bytes,
        next_hop: str,
        credentials: Credentials | None = None,
        next_cseq: Callable[[], int] | None = None,
    ) -> Promise[Response | None]:
        """Send a request that is no INVITE; its final response comes, None if there is none."""
        promise: Promise[Response | None] = Promise()
        tried = False

        def came(response: Response | None) -> None:
            nonlocal tried
            if response is not None and response.status < 200:
                return
            if response is not None and response.status in (401, 407) and not tried:
                field = credentials and authorization(response, method, uri, credentials)
                if field and next_cseq is not None:
                    tried = True
                    number = f"{next_cseq()} {method}"
                    again = [(k, number if k == "CSeq" else v) for k, v in fields]
                    self.send(method, uri, [*again, field], body, next_hop, came)
                    return
            promise.keep(response)

        self.send(method, uri, fields, body, next_hop, came)
        return promise

    def flow(self, uri: str) -> Flow:
        """Where a URI's requests go: its address, or the Call Manager where it has none."""
        return flow_of(uri) or self.manager or NOWHERE

    def outward(self, uri: str) -> str:
        """The next hop of a request outside a dialog."""
        if self.manager is None:
            return uri
        where = host_port(self.manager.host, self.manager.port)
        return f"sip:{where};transport={self.manager.transport}"

    # What the endpoint says

    def request_came(self, incoming: Incoming) -> None:
        """A request came."""
        request = incoming.request
        unknown = request.headers.tokens("require") - SUPPORTED
        if unknown:
            incoming.respond(420, fields=[("Unsupported", ", ".join(sorted(unknown)))])
        elif request.to_tag:
            call = self._calls.get((request.call_id, request.to_tag, request.from_tag))
            if call is not None:
                call.request_came(incoming)
            else:
                self.outside.in_dialog(incoming)
        elif request.method == "INVITE":
            self._invite(incoming)
        elif request.method == "OPTIONS":
            incoming.respond(200, fields=[*self._fields, ("Accept", SDP)])
        else:
            self.outside.request_came(incoming)

    def _invite(self, incoming: Incoming) -> None:
        request = incoming.request
        refusal = unfit(request)
        if refusal is not None:
            status, fields = refusal
            incoming.respond(status, fields=fields)
            return
        replaced: Call | None = None
        try:
            wanted = parse_replaces(request)
        except MalformedError:
            incoming.respond(400, reason="Bad Replaces")
            return
        if wanted is not None:
            *key, early_only = wanted
            replaced = self._calls.get((key[0], key[1], key[2]))
            if replaced is None or replaced.state != "confirmed":
                incoming.respond(481)
                return
            if early_only:
                incoming.respond(486)
                return
        invitation = Invitation(self, incoming)
        invitation.replaces = replaced
        if not self._invitations.put(invitation):
            invitation.reject(503, headers=[("Retry-After", "2")])

    def acknowledgement(self, request: Request, flow: Flow) -> None:
        """An ACK of a 2xx came."""
        del flow
        call = self._calls.get((request.call_id, request.to_tag, request.from_tag))
        if call is not None:
            call.offers.ack_came(request)

    def response(self, response: Response, flow: Flow) -> None:
        """A 2xx came long after its INVITE: nobody is there for it."""

    # Sockets and time

    def _received(self, data: bytes, flow: Flow) -> None:
        if self._trusted is not None and not self._trusted(flow.host):
            return
        try:
            self.endpoint.receive(data, flow)
        except Exception:  # what somebody sends may not end the process
            log.exception("message from %s:%s", flow.host, flow.port)

    def _lost(self, flow: Flow) -> None:
        self.endpoint.lost(flow)

    def _sent_by(self, transport: str) -> str:
        del transport
        return host_port(self.address, self.port)

    def _wake(self, due: float) -> None:
        if self._timer is not None and due < self._timer.deadline:
            self._timer.deadline = due

    async def _quiet(self) -> None:
        """Wait until every request has its answer."""
        while self.endpoint.pending:  # noqa: ASYNC110 - a process ends: nobody is to be told
            await trio.sleep(0.01)

    async def _keep_time(self) -> None:
        while True:
            try:
                self.endpoint.tick()
            except Exception:  # a fault in what one timer does may not stop the others
                log.exception("timer")
                continue
            with trio.CancelScope(deadline=self.endpoint.next_due()) as self._timer:
                await trio.sleep_forever()

"""Subscriptions both ways: RFC 6665. `Notifier` serves one, `Subscription` holds one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from services.core.sip.dialog import (
    Dialog,
    contact,
    fields_out,
    new_call_id,
    new_tag,
    of_invite,
    of_response,
)
from services.core.sip.digest import Credentials
from services.core.sip.errors import CallRefusedError, RequestFailedError
from services.core.sip.events import NotifyReceived
from services.core.sip.message import Headers, Response
from services.core.sip.uri import Address, parse_address
from services.core.sip.waiting import Mailbox, Promise

if TYPE_CHECKING:
    from services.core.sip.agent import UserAgent
    from services.core.sip.endpoint import Timer
    from services.core.sip.exchange import Incoming

LONGEST = 3600
"""Seconds: subscriptions are refreshed this often at least."""
MAX_NOTIFIES = 64


class Notifier:
    """A subscription of somebody else's. `notify` tells them; the first has to come at once."""

    def __init__(
        self, agent: UserAgent, incoming: Incoming, register: dict[tuple[str, str], Notifier]
    ) -> None:
        request = incoming.request
        self._agent = agent
        self._register = register
        self._dialog = of_invite(request, new_tag())
        self._key = (request.call_id, self._dialog.local_tag)
        self.event = request.headers.get("event")
        self.headers: Headers = request.headers
        self.called = request.uri
        self._last: tuple[bytes, str] | None = None
        self._telling = False
        self._next = ""
        self._expiry: Timer | None = None
        self._until = 0.0
        self._over: Promise[str] = Promise()
        register[self._key] = self
        self._take(incoming)

    @property
    def subscriber(self) -> Address:
        """From."""
        return parse_address(self._dialog.remote)

    @property
    def alive(self) -> bool:
        """Somebody listens."""
        return not self._over.kept

    async def wait_ended(self) -> str:
        """Wait until the subscriber has gone or has not refreshed; returns which."""
        return await self._over.wait()

    async def run(self, serve: Callable[[Notifier], Awaitable[None]]) -> None:
        """Serve it; what is served no longer is ended."""
        try:
            await serve(self)
        finally:
            self.terminate("noresource")

    def notify(self, body: bytes, content_type: str) -> None:
        """Tell the subscriber; a refresh is told the same again."""
        self._last = (body, content_type)
        if self.alive:
            left = max(0, round(self._until - self._agent.endpoint.now))
            self._send(f"active;expires={left}")

    def terminate(self, reason: str) -> None:
        """End it; nothing happens if it is over."""
        if self.alive:
            self._send(f"terminated;reason={reason}")
            self._end(reason)

    def refresh(self, incoming: Incoming) -> None:
        """A SUBSCRIBE in its dialog."""
        if not self._dialog.in_order(incoming.request):
            incoming.respond(500)
            return
        self._dialog.refresh(incoming.request)
        self._take(incoming)
        if self.alive and self._last is not None:
            self.notify(*self._last)

    def _take(self, incoming: Incoming) -> None:
        text = incoming.request.headers.get("expires", str(LONGEST))
        if not (text.isascii() and text.isdecimal()) or len(text) > 10:
            incoming.respond(400, reason="Bad Expires")
            self._end("bad")
            return
        expires = min(int(text), LONGEST)
        fields = [*self._agent.own_fields(), ("Expires", str(expires))]
        incoming.respond(200, tag=self._dialog.local_tag, fields=fields)
        endpoint = self._agent.endpoint
        if self._expiry is not None:
            self._expiry.cancel()
        self._until = endpoint.now + expires
        if expires:
            self._expiry = endpoint.call_at(self._until, lambda: self.terminate("timeout"))
        else:
            self.terminate("timeout")

    def _send(self, state: str) -> None:
        if self._telling:  # one at a time, or a proxy has the second overtake the first
            self._next = state
            return
        self._telling = True
        body, kind = self._last or (b"", "")
        uri, fields = self._dialog.fields("NOTIFY")
        fields += [("Event", self.event), ("Subscription-State", state)]
        fields += self._agent.own_fields()
        if body:
            fields.append(("Content-Type", kind))
        self._agent.ask("NOTIFY", uri, fields, body, self._dialog.next_hop).then(self._told)

    def _told(self, response: Response | None) -> None:
        self._telling = False
        state, self._next = self._next, ""
        if state:
            self._send(state)
        if response is None or response.status in (404, 408, 410, 481, 489):
            self._end("gone")

    def _end(self, why: str) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._register.pop(self._key, None)
        self._over.keep(why)


class Subscription(AsyncIterator[NotifyReceived]):
    """A subscription of ours. Iterating gives each NOTIFY; it ends when the notifier ends it."""

    def __init__(
        self,
        agent: UserAgent,
        uri: str,
        event: str,
        caller: str,
        accept: str,
        expires: int,
        credentials: Credentials | None,
    ) -> None:
        self._agent, self._uri, self._event = agent, uri, event
        self._accept, self._expires, self._credentials = accept, expires, credentials
        self._tag = new_tag()
        self._local = f"{caller};tag={self._tag}"
        self._call_id = new_call_id(agent.address)
        self.key = (self._call_id, self._tag)
        self._dialog: Dialog | None = None
        self._cseq = 0
        self._timer: Timer | None = None
        self._over = False
        self._mailbox: Mailbox[NotifyReceived] = Mailbox(MAX_NOTIFIES)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> NotifyReceived:
        return await self._mailbox.__anext__()

    async def begin(self) -> None:
        """Subscribe."""
        response = await self._subscribe(self._expires).wait()
        if response is None:
            raise RequestFailedError(f"{self._uri}: no answer")
        if response.status >= 300:
            raise CallRefusedError(response)
        self._subscribed(response)

    def end(self) -> None:
        """Unsubscribe; nothing happens if it is over."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._over and self._dialog is not None:
            self._subscribe(0)
        self._over = True
        self._mailbox.close()

    def notified(self, incoming: Incoming, notify: NotifyReceived) -> None:
        """A NOTIFY of it came, perhaps before the answer to the SUBSCRIBE."""
        request = incoming.request
        if self._dialog is None:
            self._dialog = of_invite(request, self._tag)
            self._dialog.local, self._dialog.local_cseq = self._local, self._cseq
        elif not self._dialog.in_order(request):
            incoming.respond(500)
            return
        self._dialog.refresh(request)
        incoming.respond(200, fields=self._agent.own_fields())
        self._mailbox.put(notify)
        if notify.state.partition(";")[0].strip().lower() == "terminated":
            self._over = True
            self.end()

    def _subscribe(self, expires: int) -> Promise[Response | None]:
        agent = self._agent
        more = [("Event", self._event), ("Expires", str(expires)), *agent.own_fields()]
        if self._accept:
            more.append(("Accept", self._accept))
        if self._dialog is not None:
            uri, fields = self._dialog.fields("SUBSCRIBE")
            hop = self._dialog.next_hop
        else:
            uri, hop = self._uri, agent.outward(self._uri)
            fields = list(
                fields_out(
                    local=self._local,
                    remote=f"<{uri}>",
                    call_id=self._call_id,
                    cseq=self._next(),
                    method="SUBSCRIBE",
                )
            )
        return agent.ask(
            "SUBSCRIBE", uri, [*fields, *more], b"", hop, self._credentials, self._next
        )

    def _next(self) -> int:
        if self._dialog is not None:
            self._dialog.local_cseq += 1
            return self._dialog.local_cseq
        self._cseq += 1
        return self._cseq

    def _subscribed(self, response: Response) -> None:
        if self._dialog is None:
            self._dialog = of_response(self._local, self._cseq, response)
            self._dialog.target = contact(response) or self._uri
        text = response.headers.get("expires")
        granted = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
        wait = 0.8 * min(granted or self._expires, self._expires)
        endpoint = self._agent.endpoint
        self._timer = endpoint.call_at(endpoint.now + wait, self._again)

    def _again(self) -> None:
        self._subscribe(self._expires).then(self._refreshed)

    def _refreshed(self, response: Response | None) -> None:
        if self._over:
            return
        if response is None or response.status >= 300:
            self._over = True
            self._mailbox.close()
        else:
            self._subscribed(response)

"""Requests outside calls: MESSAGE (RFC 3428), SUBSCRIBE and NOTIFY (RFC 6665), OPTIONS."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from services.core.sip.dialog import fields_out, new_call_id, new_tag
from services.core.sip.digest import Credentials
from services.core.sip.errors import CallRefusedError, RequestFailedError
from services.core.sip.events import MessageReceived, NotifyReceived
from services.core.sip.message import Fields, Response
from services.core.sip.subscription import Notifier, Subscription
from services.core.sip.uri import host_port

if TYPE_CHECKING:
    from services.core.sip.agent import UserAgent
    from services.core.sip.exchange import Incoming


class Outside:
    """What the user agent does besides calls.

    ``packages`` are the events that others may subscribe to, each with what serves a subscription
    in a task of its own. ``on_message`` is given each MESSAGE and returns the status that it gets;
    ``on_notify`` each NOTIFY that nobody subscribed to (RFC 3842 phones and servers send such).
    """

    def __init__(self, agent: UserAgent) -> None:
        self._agent = agent
        self.packages: dict[str, Callable[[Notifier], Awaitable[None]]] = {}
        self.on_message: Callable[[MessageReceived], int] | None = None
        self.on_notify: Callable[[NotifyReceived], int] | None = None
        self._notifiers: dict[tuple[str, str], Notifier] = {}
        self._subscriptions: dict[tuple[str, str], Subscription] = {}

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
        """See `UserAgent.request`."""
        agent = self._agent
        fields = [
            *fields_out(
                local=f"{caller or self.own_address()};tag={new_tag()}",
                remote=to or f"<{uri}>",
                call_id=new_call_id(agent.address),
                cseq=1,
                method=method,
            ),
            *agent.own_fields(),
            *headers,
        ]
        hop = agent.outward(uri)
        promise = agent.ask(method, uri, fields, body, hop, credentials, lambda: 2)
        return judged(uri, await promise.wait())

    async def message(
        self,
        uri: str,
        text: str,
        *,
        caller: str = "",
        content_type: str = "text/plain;charset=utf-8",
    ) -> None:
        """Send a MESSAGE; raises as `UserAgent.request`."""
        headers = [("Content-Type", content_type)]
        await self.request("MESSAGE", uri, caller=caller, headers=headers, body=text.encode())

    async def notify(
        self, uri: str, event: str, body: bytes, content_type: str, *, caller: str = ""
    ) -> None:
        """Send a NOTIFY that nobody subscribed to; raises as `UserAgent.request`."""
        headers = [
            ("Event", event),
            ("Subscription-State", "active"),
            ("Content-Type", content_type),
        ]
        await self.request("NOTIFY", uri, caller=caller, headers=headers, body=body)

    @asynccontextmanager
    async def subscribe(
        self,
        uri: str,
        event: str,
        *,
        caller: str = "",
        accept: str = "",
        expires: int = 3600,
        credentials: Credentials | None = None,
    ) -> AsyncGenerator[Subscription]:
        """Subscribe to ``event``, refresh that, and end it with the block.

        Iterating the `Subscription` gives each NOTIFY. Raises as `UserAgent.request`.
        """
        subscription = Subscription(
            self._agent, uri, event, caller or self.own_address(), accept, expires, credentials
        )
        self._subscriptions[subscription.key] = subscription
        try:
            await subscription.begin()
            yield subscription
        finally:
            self._subscriptions.pop(subscription.key, None)
            subscription.end()

    def own_address(self) -> str:
        """From of what nobody else is said to send."""
        return f"<sip:{self._agent.name}@{host_port(self._agent.address, 0)}>"

    # What comes

    def request_came(self, incoming: Incoming) -> None:
        """A request outside any dialog."""
        request = incoming.request
        kind = request.headers.get("content-type")
        if request.method == "MESSAGE" and self.on_message is not None:
            incoming.respond(self.on_message(MessageReceived(kind, request.body, request.headers)))
        elif request.method == "SUBSCRIBE":
            self._subscribe_came(incoming)
        elif request.method == "NOTIFY":
            self._notify_came(incoming)
        elif request.method in ("BYE", "PRACK", "UPDATE", "INFO", "REFER"):
            incoming.respond(481)
        elif request.method == "MESSAGE":
            incoming.respond(405, fields=self._agent.own_fields())
        else:
            incoming.respond(501, fields=self._agent.own_fields())

    def in_dialog(self, incoming: Incoming) -> None:
        """A request in a dialog that is no call's."""
        request = incoming.request
        key = (request.call_id, request.to_tag)
        if request.method == "SUBSCRIBE" and key in self._notifiers:
            self._notifiers[key].refresh(incoming)
        elif request.method == "NOTIFY":
            self._notify_came(incoming)
        else:
            incoming.respond(481)

    def _subscribe_came(self, incoming: Incoming) -> None:
        agent = self._agent
        event = incoming.request.headers.get("event").partition(";")[0].strip().lower()
        serve = self.packages.get(event)
        if serve is None:
            allowed = ", ".join(sorted(self.packages))
            incoming.respond(489, fields=[("Allow-Events", allowed)] if allowed else ())
            return
        notifier = Notifier(agent, incoming, self._notifiers)
        if notifier.alive:
            agent.start_soon(lambda: notifier.run(serve))

    def _notify_came(self, incoming: Incoming) -> None:
        request = incoming.request
        subscription = self._subscriptions.get((request.call_id, request.to_tag))
        event = request.headers.get("event")
        state = request.headers.get("subscription-state")
        kind = request.headers.get("content-type")
        notify = NotifyReceived(event, state, kind, request.body)
        if subscription is not None:
            subscription.notified(incoming, notify)
        elif self.on_notify is not None and not request.to_tag:
            incoming.respond(self.on_notify(notify))
        else:
            incoming.respond(481)

    def close(self) -> None:
        """The user agent is closed."""
        for notifier in list(self._notifiers.values()):
            notifier.terminate("deactivated")


def judged(uri: str, response: Response | None) -> Response:
    """The 2xx; raises for anything else."""
    if response is None:
        raise RequestFailedError(f"{uri}: no answer")
    if response.status >= 300:
        raise CallRefusedError(response)
    return response

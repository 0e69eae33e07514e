"""All transactions of a user agent: which one a message is of, and their timers. Pure.

`Endpoint.receive` and `Endpoint.tick` take what came and the time; what goes out is handed to
``send``, what is for the user to its `User`. Sources: RFC 3261 sections 8.2.2.2, 9.2, 17.1.3,
17.2.3 and 18.1.2, RFC 6026.
"""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Callable
from typing import Protocol, TypeAlias

from services.core.sip.exchange import Flow, Incoming, Key, Outgoing, response_flow
from services.core.sip.message import (
    Fields,
    Request,
    Response,
    compose,
    compose_response,
    parse,
)
from services.core.sip.transaction import (
    NEVER,
    ClientInvite,
    ClientRequest,
    ServerInvite,
    ServerRequest,
    Transaction,
)

MAGIC = "z9hG4bK"
MAX_TRANSACTIONS = 200_000
"""Requests past this get 503: an attack, for their memory would be some hundred MB."""


Send: TypeAlias = Callable[[bytes, Flow], None]


class User(Protocol):
    """Who uses the endpoint: the user agent."""

    def request_came(self, incoming: Incoming) -> None:
        """A new request; never an ACK of a failure and never a repetition."""
        ...

    def acknowledgement(self, request: Request, flow: Flow) -> None:
        """An ACK of a 2xx."""
        ...

    def response(self, response: Response, flow: Flow) -> None:
        """A 2xx to an INVITE whose transaction is over."""
        ...


class Timer:
    """A callback that is due some time; `cancel` is all that can be done to it."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """It is not wanted any more."""
        self._callback = None

    def fire(self) -> None:
        """It is due."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Endpoint:
    """``send`` carries bytes out; ``clock`` says the time in seconds, from any beginning."""

    def __init__(self, send: Send, clock: Callable[[], float], via: Callable[[str], str]) -> None:
        self.emit = send
        self._clock = clock
        self._via = via
        self.user: User
        self._servers: dict[Key, Incoming] = {}
        self._clients: dict[Key, Outgoing] = {}
        self._merged: dict[Key, Key] = {}
        self._timers: list[tuple[float, int, Key, Transaction | Timer]] = []
        self._count = 0
        self.limit = MAX_TRANSACTIONS
        self.wake: Callable[[float], None] | None = None

    @property
    def now(self) -> float:
        """The time."""
        return self._clock()

    def __len__(self) -> int:
        return len(self._servers) + len(self._clients)

    @property
    def pending(self) -> int:
        """Requests of ours that have no final response yet."""
        return sum(o.machine.state in ("calling", "proceeding") for o in self._clients.values())

    # What comes in

    def receive(self, data: bytes, flow: Flow) -> None:
        """A message came."""
        message = parse(data)
        if message is None:
            return
        if isinstance(message, Response):
            self._response(message, flow)
        else:
            self._request(message, flow)

    def _response(self, response: Response, flow: Flow) -> None:
        outgoing = self._clients.get((response.via.branch, response.method))
        if outgoing is not None:
            outgoing.received(response, self.now)
        elif response.method == "INVITE" and 200 <= response.status < 300:
            self.user.response(response, flow)

    def _request(self, request: Request, flow: Flow) -> None:
        method = request.method
        key = server_key(request)
        known = self._servers.get(key)
        if known is not None:
            self._again(known, request, flow)
            return
        if request.problem is not None:
            if method != "ACK":
                self._refuse(request, flow, *request.problem)
            return
        if method == "ACK":
            self.user.acknowledgement(request, flow)
            return
        if method == "CANCEL":
            self._cancel(request, flow)
            return
        if len(self._servers) >= self.limit:
            self._refuse(request, flow, 503, "Too Many Transactions", (("Retry-After", "5"),))
            return
        merged: Key | None = None
        if not request.to_tag:
            merged = (request.call_id, request.from_tag, request.cseq, method)
            other = self._servers.get(self._merged.get(merged, ()))
            if other is not None and other.machine.state in ("proceeding", "accepted"):
                self._refuse(request, flow, 482, "Merged Request")
                return
            self._merged[merged] = key
        reliable = flow.transport != "udp"
        machine = (ServerInvite if method == "INVITE" else ServerRequest)(
            request, reliable=reliable
        )
        incoming = Incoming(self, key, machine, request, flow)
        self._servers[key] = incoming
        self.user.request_came(incoming)

    def adopt(self, request: Request, flow: Flow) -> Incoming:
        """An INVITE that came to another process is answered by this one."""
        machine = ServerInvite(request, reliable=flow.transport != "udp")
        incoming = Incoming(self, server_key(request), machine, request, flow)
        self._servers[incoming.key] = incoming
        return incoming

    def _again(self, known: Incoming, request: Request, flow: Flow) -> None:
        machine = known.machine
        if request.method == "ACK" and isinstance(machine, ServerInvite):
            if not machine.ack(self.now):
                self.user.acknowledgement(request, flow)
            self.watch(known.key, machine)
            return
        data = machine.repeated()
        if data is not None:
            self.emit(data, response_flow(known.request, known.flow))

    def _cancel(self, request: Request, flow: Flow) -> None:
        known = self._servers.get((*server_key(request)[:-1], "INVITE"))
        if known is None:
            self._refuse(request, flow, 481)
            return
        self._refuse(request, flow, 200)
        if known.machine.state == "proceeding" and known.listener is not None:
            known.listener("cancelled")

    def _refuse(
        self, request: Request, flow: Flow, status: int, reason: str = "", fields: Fields = ()
    ) -> None:
        """A final response without a transaction (RFC 3261 section 8.2.7): nothing is kept."""
        tag = secrets.token_hex(4)
        data = compose_response(request, status, flow[1:], tag=tag, reason=reason, fields=fields)
        self.emit(data, response_flow(request, flow))

    # What goes out

    def start(
        self,
        method: str,
        data: bytes,
        flow: Flow,
        listener: Callable[[Response | None], None],
        branch: object,
    ) -> Outgoing:
        """Send a request that has its Via already; `request` is for the others."""
        reliable = flow.transport != "udp"
        kind = ClientInvite if method == "INVITE" else ClientRequest
        machine = kind(data, self.now, reliable=reliable)
        key: Key = (branch, method)
        outgoing = Outgoing(self, key, machine, data, flow, listener)
        self._clients[key] = outgoing
        self.watch(key, machine)
        self.emit(data, flow)
        return outgoing

    def request(
        self,
        method: str,
        uri: str,
        fields: Fields,
        body: bytes,
        flow: Flow,
        listener: Callable[[Response | None], None],
    ) -> Outgoing:
        """Send a request in a new transaction; ``fields`` are all but Via and Content-Length."""
        branch = new_branch()
        data = compose(f"{method} {uri} SIP/2.0", self._with_via(fields, flow, branch), body)
        return self.start(method, data, flow, listener, branch)

    def acknowledge(self, uri: str, fields: Fields, body: bytes, flow: Flow) -> bytes:
        """Send the ACK of a 2xx; it is returned to be sent again when the 2xx is."""
        data = compose(f"ACK {uri} SIP/2.0", self._with_via(fields, flow, new_branch()), body)
        self.emit(data, flow)
        return data

    def _with_via(self, fields: Fields, flow: Flow, branch: str) -> list[tuple[str, str]]:
        via = f"SIP/2.0/{flow.transport.upper()} {self._via(flow.transport)};branch={branch};rport"
        return [("Via", via), *fields]

    def lost(self, flow: Flow) -> None:
        """The connection is gone: requests on it without an answer have failed (section 17.1.4)."""
        for outgoing in [o for o in self._clients.values() if o.flow == flow]:
            if outgoing.machine.state in ("calling", "proceeding"):
                del self._clients[outgoing.key]
                outgoing.listener(None)

    # Time

    def watch(self, key: Key, machine: Transaction) -> None:
        """Its timer may have changed."""
        if machine.due != NEVER:
            self._push(machine.due, key, machine)

    def call_at(self, due: float, callback: Callable[[], None]) -> Timer:
        """Have ``callback`` called then, unless the timer is cancelled before."""
        timer = Timer(callback)
        self._push(due, (), timer)
        return timer

    def _push(self, due: float, key: Key, item: Transaction | Timer) -> None:
        self._count += 1
        heapq.heappush(self._timers, (due, self._count, key, item))
        if self.wake is not None:
            self.wake(due)

    def next_due(self) -> float:
        """When `tick` is wanted next; infinity if never."""
        return self._timers[0][0] if self._timers else NEVER

    def tick(self) -> None:
        """Do what is due by now."""
        now = self.now
        timers = self._timers
        while timers and timers[0][0] <= now:
            due, _, key, item = heapq.heappop(timers)
            if isinstance(item, Timer):
                item.fire()
            elif item.due == due:  # else it was set anew since
                self._tick(key, item, now)

    def _tick(self, key: Key, machine: Transaction, now: float) -> None:
        data = machine.tick(now)
        transaction = self._clients.get(key) or self._servers.get(key)
        if transaction is None or transaction.machine is not machine:
            return
        if data is not None:
            flow = transaction.flow
            if isinstance(transaction, Incoming):
                flow = response_flow(transaction.request, flow)
            self.emit(data, flow)
        if machine.over:
            self.forget(transaction)
        else:
            self.watch(key, machine)
        if machine.expired:
            machine.expired = False
            self._expired(transaction)

    def forget(self, transaction: Incoming | Outgoing) -> None:
        """It is over, or another process's."""
        if isinstance(transaction, Outgoing):
            self._clients.pop(transaction.key, None)
            return
        self._servers.pop(transaction.key, None)
        request = transaction.request
        merged = (request.call_id, request.from_tag, request.cseq, request.method)
        if self._merged.get(merged) == transaction.key:
            del self._merged[merged]

    def _expired(self, transaction: Incoming | Outgoing) -> None:
        if isinstance(transaction, Outgoing):
            transaction.listener(None)
        elif transaction.listener is not None:
            transaction.listener("expired")


def new_branch() -> str:
    """Unique in space and time (RFC 3261 section 8.1.1.7)."""
    return MAGIC + secrets.token_hex(8)


def server_key(request: Request) -> Key:
    """What names a request's transaction: section 17.2.3; an ACK has its INVITE's."""
    method = "INVITE" if request.method == "ACK" else request.method
    via = request.via
    if via.branch.startswith(MAGIC) and len(via.branch) > len(MAGIC):
        return (via.branch, via.host, via.port, method)
    tags = (request.from_tag, request.call_id, request.cseq)
    return (request.uri, *tags, via.text, method)

"""One request and what comes of it: `Incoming` is answered by us, `Outgoing` by the other side."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

from services.core.sip.message import Fields, Request, Response, compose, compose_response
from services.core.sip.transaction import (
    ClientInvite,
    ClientRequest,
    ServerInvite,
    ServerRequest,
    Transaction,
)
from services.core.sip.uri import parse_address, parse_uri


class Flow(NamedTuple):
    """Where a message came from or goes to: ``udp`` or ``tcp``, an IP address and a port."""

    transport: str
    host: str
    port: int


NOWHERE = Flow("none", "", 0)
"""The flow of a URI that is a name, where there is no Call Manager to ask."""
Key: TypeAlias = tuple[object, ...]


class Owner(Protocol):
    """What they need of the endpoint."""

    @property
    def emit(self) -> Callable[[bytes, Flow], None]:
        """Send."""
        ...

    @property
    def now(self) -> float:
        """The time."""
        ...

    def watch(self, key: Key, machine: Transaction) -> None:
        """Its timer may have changed."""
        ...

    def forget(self, transaction: Incoming | Outgoing) -> None:
        """It is over, or another process's."""
        ...

    def start(
        self,
        method: str,
        data: bytes,
        flow: Flow,
        listener: Callable[[Response | None], None],
        branch: object,
    ) -> Outgoing:
        """Begin a client transaction."""
        ...


class Incoming:
    """A request and its transaction. ``listener`` is told of what befalls an INVITE."""

    __slots__ = ("_endpoint", "flow", "key", "listener", "machine", "request")

    def __init__(
        self,
        endpoint: Owner,
        key: Key,
        machine: ServerInvite | ServerRequest,
        request: Request,
        flow: Flow,
    ) -> None:
        self._endpoint = endpoint
        self.key = key
        self.machine = machine
        self.request = request
        self.flow = flow
        self.listener: Callable[[str], None] | None = None

    def respond(
        self,
        status: int,
        *,
        tag: str = "",
        reason: str = "",
        fields: Fields = (),
        body: bytes = b"",
        prack: bool = False,
    ) -> None:
        """Send a response; nothing happens if there was a final one."""
        if self.machine.state != "proceeding":
            return
        data = compose_response(
            self.request,
            status,
            self.flow[1:],
            tag=tag,
            reason=reason,
            fields=fields,
            body=body,
        )
        now = self._endpoint.now
        if isinstance(self.machine, ServerInvite):
            self.machine.respond(status, data, now, prack=prack)
        else:
            self.machine.respond(status, data, now)
        self._endpoint.emit(data, response_flow(self.request, self.flow))
        self._endpoint.watch(self.key, self.machine)

    def acknowledged(self) -> None:
        """The ACK of its 2xx came."""
        if isinstance(self.machine, ServerInvite):
            self.machine.acknowledged()
            self._endpoint.watch(self.key, self.machine)

    def release(self) -> None:
        """Another process answers it."""
        self._endpoint.forget(self)

    def pracked(self) -> None:
        """The PRACK of its reliable provisional response came."""
        if isinstance(self.machine, ServerInvite):
            self.machine.pracked()


class Outgoing:
    """A request that was sent. ``listener`` gets every response, None at the end without one."""

    __slots__ = ("_cancelled", "_endpoint", "data", "flow", "key", "listener", "machine", "method")

    def __init__(
        self,
        endpoint: Owner,
        key: Key,
        machine: ClientInvite | ClientRequest,
        data: bytes,
        flow: Flow,
        listener: Callable[[Response | None], None],
    ) -> None:
        self._endpoint = endpoint
        self._cancelled = False
        self.key = key
        self.machine = machine
        self.data = data
        self.flow = flow
        self.listener = listener
        self.method = str(key[1])

    def cancel(self) -> None:
        """CANCEL the INVITE: at once, or after its first provisional response (section 9.1)."""
        self._cancelled = True
        if self.machine.state == "proceeding":
            self._cancel()

    def _cancel(self) -> None:
        assert isinstance(self.machine, ClientInvite)  # noqa: S101
        self.machine.give_up(self._endpoint.now)
        self._endpoint.watch(self.key, self.machine)
        self._endpoint.start(
            "CANCEL", derived(self.data, "CANCEL"), self.flow, _ignore, self.key[0]
        )

    def received(self, response: Response, now: float) -> None:
        """A response of this transaction came."""
        machine = self.machine
        if isinstance(machine, ClientInvite):
            first = machine.state == "calling"
            failed = response.status >= 300
            ack = derived(self.data, "ACK", response.headers.get("to")) if failed else b""
            wanted, answer = machine.receive(response, ack, now)
            if answer is not None:
                self._endpoint.emit(answer, self.flow)
            if self._cancelled and first and machine.state == "proceeding":
                self._cancel()
        else:
            wanted = machine.receive(response, now)
        self._endpoint.watch(self.key, machine)
        if wanted:
            self.listener(response)


def _ignore(response: Response | None) -> None:
    del response


def derived(invite: bytes, method: str, to: str = "") -> bytes:
    """CANCEL, or the ACK of a failure, made of its INVITE (sections 9.1 and 17.1.1.3)."""
    lines = invite.partition(b"\r\n\r\n")[0].decode("utf-8", "surrogateescape").split("\r\n")
    uri = lines[0].split(" ")[1]
    fields: list[tuple[str, str]] = []
    for line in lines[1:]:
        name, _, value = line.partition(": ")
        if name == "CSeq":
            value = f"{value.split(' ')[0]} {method}"
        elif name == "To" and to:
            value = to
        if name in ("Via", "Route", "From", "To", "Call-ID", "CSeq", "Max-Forwards"):
            fields.append((name, value))
    return compose(f"{method} {uri} SIP/2.0", fields)


def response_flow(request: Request, source: Flow) -> Flow:
    """Where a response goes (RFC 3261 section 18.2.2, RFC 3581 section 4)."""
    if source.transport != "udp" or "rport" in request.via.parameters:
        return source
    return Flow("udp", source.host, request.via.port or 5060)


def flow_of(uri: str) -> Flow | None:
    """Where requests for a URI, or an address with one, go; None if its host is a name."""
    try:
        parsed = parse_uri(parse_address(uri).uri if "<" in uri else uri)
        host = str(ipaddress.ip_address(parsed.parameters.get("maddr") or parsed.host))
    except ValueError:
        return None
    transport = parsed.parameters.get("transport", "udp").lower()
    return Flow("tcp" if transport == "tcp" else "udp", host, parsed.port or 5060)

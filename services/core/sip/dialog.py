"""Dialogs: RFC 3261 section 12. A dialog is a value, which another process can go on with. Pure."""

from __future__ import annotations

import secrets

import msgspec

from services.core.sip.message import Fields, Message, Request, Response
from services.core.sip.uri import parse_address, parse_uri

GAP = 64
"""What an adopter leaves out of the sequence: the dead may have sent more than they wrote down.

RFC 3261 section 12.2.2: a number that is higher by more than one is no error.
"""


class Dialog(msgspec.Struct, kw_only=True):
    """``local`` and ``remote`` are From and To of our requests, with their tags.

    ``remote_cseq`` is -1 while no request has come. ``target`` is the URI of the other's Contact.
    """

    call_id: str
    local: str
    remote: str
    local_tag: str
    remote_tag: str
    local_cseq: int
    remote_cseq: int = -1
    routes: tuple[str, ...] = ()
    target: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it: Call-ID, our tag, the other's."""
        return (self.call_id, self.local_tag, self.remote_tag)

    def fields(self, method: str, cseq: int | None = None) -> tuple[str, list[tuple[str, str]]]:
        """Request-URI and header fields of the next request (section 12.2.1.1).

        ``cseq`` is given for ACK, which has its INVITE's number.
        """
        if cseq is None:
            self.local_cseq += 1
            cseq = self.local_cseq
        uri, routes = self.target, list(self.routes)
        if routes and not _loose(routes[0]):
            routes.append(f"<{uri}>")
            uri = parse_address(routes.pop(0)).uri
        return uri, [
            ("Max-Forwards", "70"),
            *(("Route", route) for route in routes),
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
        ]

    @property
    def next_hop(self) -> str:
        """The URI whose address the next request is sent to."""
        return parse_address(self.routes[0]).uri if self.routes else self.target

    def in_order(self, request: Request) -> bool:
        """Whether the number of ``request`` is new (section 12.2.2); it is noted."""
        if request.cseq <= self.remote_cseq:
            return False
        self.remote_cseq = request.cseq
        return True

    def refresh(self, message: Message) -> None:
        """Take a new remote target from a target refresh request or its 2xx."""
        target = contact(message)
        if target:
            self.target = target


def contact(message: Message) -> str:
    """The URI of its first Contact; empty if it has none that can be read."""
    values = message.headers.values("contact")
    if not values or values[0] == "*":
        return ""
    try:
        uri = parse_address(values[0]).uri
        parse_uri(uri)
    except ValueError:
        return ""
    return uri


def _loose(route: str) -> bool:
    try:
        return "lr" in parse_uri(parse_address(route).uri).parameters
    except ValueError:
        return True


def of_invite(request: Request, tag: str) -> Dialog:
    """The dialog that a server's response with ``tag`` makes (section 12.1.1)."""
    return Dialog(
        call_id=request.call_id,
        local=f"{request.headers.get('to')};tag={tag}",
        remote=request.headers.get("from"),
        local_tag=tag,
        remote_tag=request.from_tag,
        local_cseq=secrets.randbelow(1 << 16),
        remote_cseq=request.cseq,
        routes=tuple(request.headers.values("record-route")),
        target=contact(request),
    )


def of_response(local: str, cseq: int, response: Response) -> Dialog:
    """The dialog that a response to our request makes (section 12.1.2); ``local`` is its From."""
    return Dialog(
        call_id=response.call_id,
        local=local,
        remote=response.headers.get("to"),
        local_tag=response.from_tag,
        remote_tag=response.to_tag,
        local_cseq=cseq,
        routes=tuple(reversed(response.headers.values("record-route"))),
        target=contact(response),
    )


def new_tag() -> str:
    """A tag (section 19.3)."""
    return secrets.token_hex(6)


def new_call_id(host: str) -> str:
    """A Call-ID (section 8.1.1.4)."""
    return f"{secrets.token_hex(12)}@{host}"


def fields_out(
    *, local: str, remote: str, call_id: str, cseq: int, method: str, routes: tuple[str, ...] = ()
) -> Fields:
    """Header fields of a request outside a dialog (section 8.1.1)."""
    return [
        ("Max-Forwards", "70"),
        *(("Route", route) for route in routes),
        ("From", local),
        ("To", remote),
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} {method}"),
    ]

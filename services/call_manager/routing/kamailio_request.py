"""What the steps before routing share: reading a request over KSR, answering it, the policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple, get_type_hints

import KSR

from services.call_manager.routing import guard
from services.call_manager.routing.guard import Refusal
from services.call_manager.routing.worker import tables
from services.core.configuration import Cluster

NOT_UTF8 = Refusal(400, "Message Is Not UTF-8")


class Policy:
    """The cluster's security settings as objects, made anew when the tables change."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None

    def refresh(self) -> None:
        tables.refresh()
        if tables.cluster is not self._cluster:
            self._cluster = tables.cluster
            self.security = tables.cluster.security
            self.trusted = guard.Trusted(self.security.trusted)


policy = Policy()


text = KSR.pv.gete
"""A pseudo-variable that holds text, "" where there is none; numbers come by ``KSR.pv.get``.

Raises UnicodeDecodeError where the message is not UTF-8.
"""


class Head(NamedTuple):
    """What routing reads of a request's header, as text; "" for what is not there.

    Each field is the pseudo-variable beside it; ``$hdrc`` counts header fields, of which ``$hdr``
    is the first one.
    """

    source: Annotated[str, "$si"]
    port: Annotated[str, "$sp"]
    transport: Annotated[str, "$pr"]
    method: Annotated[str, "$rm"]
    ruri: Annotated[str, "$ou"]
    ruri_user: Annotated[str, "$rU"]
    ruri_host: Annotated[str, "$rd"]
    referred_by: Annotated[str, "$(ru{uri.param,pbx-by})"]
    from_uri: Annotated[str, "$fu"]
    from_user: Annotated[str, "$fU"]
    from_host: Annotated[str, "$fd"]
    from_tag: Annotated[str, "$ft"]
    to_uri: Annotated[str, "$tu"]
    to_user: Annotated[str, "$tU"]
    to_host: Annotated[str, "$td"]
    to_tag: Annotated[str, "$tt"]
    call_id: Annotated[str, "$ci"]
    cseq: Annotated[str, "$cs"]
    size: Annotated[str, "$ml"]
    declared: Annotated[str, "$cl"]
    actual: Annotated[str, "$bs"]
    user_agent: Annotated[str, "$ua"]
    froms: Annotated[str, "$hdrc(From)"]
    tos: Annotated[str, "$hdrc(To)"]
    call_ids: Annotated[str, "$hdrc(Call-ID)"]
    cseqs: Annotated[str, "$hdrc(CSeq)"]
    lengths: Annotated[str, "$hdrc(Content-Length)"]
    vias: Annotated[str, "$hdrc(Via)"]
    via: Annotated[str, "$(hdr(Via)[*])"]
    routes: Annotated[str, "$hdrc(Route)"]
    record_routes: Annotated[str, "$hdrc(Record-Route)"]
    contacts: Annotated[str, "$hdrc(Contact)"]
    contact: Annotated[str, "$hdr(Contact)"]
    paths: Annotated[str, "$hdrc(Path)"]
    requires: Annotated[str, "$hdrc(Require)"]
    replaces: Annotated[str, "$hdrc(Replaces)"]
    privacy: Annotated[str, "$hdr(Privacy)"]
    breadth: Annotated[str, "$hdr(Max-Breadth)"]
    proxy_require: Annotated[str, "$hdr(Proxy-Require)"]
    authorizations: Annotated[str, "$hdrc(Authorization)"]
    authorization: Annotated[str, "$hdr(Authorization)"]
    proxy_authorizations: Annotated[str, "$hdrc(Proxy-Authorization)"]
    proxy_authorization: Annotated[str, "$hdr(Proxy-Authorization)"]
    banned: Annotated[str, "$sht(ipban=>$si)"]


VARIABLES = tuple(
    hint.__metadata__[0] for hint in get_type_hints(Head, include_extras=True).values()
)
TOGETHER = "$_s(" + "\n".join(VARIABLES) + ")"
NULL = "<null>"
"""What Kamailio prints for a variable that has no value."""
MOST = 4000
"""Bytes of a message whose fields fit into Kamailio's buffer for them, each of them twice."""


def read_together() -> Head | None:
    """The current request's head by one reading; None where it cannot be had so.

    Each reading takes 2 µs between two messages, whatever is read. A field with a line break in it
    (RFC 3261 7.3.1 lets them be folded) makes one value too many.
    """
    if int(KSR.pv.get("$ml") or 0) > MOST:
        return None
    try:
        values = text(TOGETHER).split("\n")
    except UnicodeDecodeError:
        return None
    if len(values) != len(VARIABLES):
        return None
    return Head._make(["" if value == NULL else value for value in values])


def read_each() -> Head:
    """The same, whatever it is. Raises UnicodeDecodeError where the message is not UTF-8."""
    return Head._make(
        "" if (value := KSR.pv.get(name)) is None else str(value) for name in VARIABLES
    )


def refuse(refusal: Refusal) -> bool:
    if refusal.headers:
        KSR.hdr.append_to_reply(refusal.headers)
    KSR.sl.send_reply(refusal.code, refusal.reason)
    return False


def values(name: str) -> Sequence[str]:
    """Every value of a header field, in order, comma-separated lists unsplit."""
    return counted(name, str(KSR.pv.get(f"$hdrc({name})") or 0))


def counted(name: str, count: str, first: str | None = None) -> Sequence[str]:
    """The same where it is known how often the field comes, and perhaps what the first one says."""
    number = int(count or 0)
    if not number:
        return ()
    if number == 1:
        return (text(f"$hdr({name})") if first is None else first,)
    return [text(f"$(hdr({name})[{index}])") for index in range(min(number, 32))]


def is_stream() -> bool:
    return not KSR.is_UDP() > 0

"""What may happen in a call, as `Call.events` gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from services.core.sip.errors import StateError
from services.core.sip.message import Headers, Request

if TYPE_CHECKING:
    from services.core.sip.call import Call
    from services.core.sip.exchange import Incoming


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The call is over; nothing comes after it.

    ``by`` says who ended it: ``them`` (BYE, CANCEL), ``us``, or ``failure``: no ACK, no answer to
    a request, no session refresh. ``reason`` is the BYE's Reason field (RFC 3326), or what failed.
    """

    by: Literal["us", "them", "failure"]
    reason: str = ""
    headers: Headers | None = None


class Offered:
    """A re-INVITE or UPDATE came with another offer; it waits for `accept` or `reject`.

    ``sdp`` is None where the other party asks for our offer: `accept` takes that, and `Answered`
    brings the answer. What is not answered within 10 s is refused with 488.
    """

    __slots__ = ("_accept", "_incoming", "_refuse", "sdp")

    def __init__(
        self,
        incoming: Incoming,
        accept: Callable[[Incoming, str], None],
        refuse: Callable[[Incoming, int, str], None],
    ) -> None:
        self._incoming, self._accept, self._refuse = incoming, accept, refuse
        self.sdp = incoming.request.sdp

    @property
    def request(self) -> Request:
        """As it came."""
        return self._incoming.request

    @property
    def answered(self) -> bool:
        """Nothing more can be said to it."""
        return self._incoming.machine.state != "proceeding"

    def accept(self, sdp: str) -> None:
        """Answer, or offer where the other party asked for that. `StateError` if it is late."""
        if self.answered:
            raise StateError("the offer is answered already")
        self._accept(self._incoming, sdp)

    def reject(self, status: int = 488, reason: str = "") -> None:
        """What was agreed before holds on."""
        if not self.answered:
            self._refuse(self._incoming, status, reason)


class Answered(msgspec.Struct, frozen=True):
    """The other party's answer to an offer of ours that it asked for, in its ACK."""

    sdp: str


class InfoReceived(msgspec.Struct, frozen=True):
    """An INFO (RFC 6086); it has been answered with 200."""

    content_type: str
    body: bytes
    headers: Headers


class MessageReceived(msgspec.Struct, frozen=True):
    """A MESSAGE inside the call (RFC 3428); it has been answered with 200."""

    content_type: str
    body: bytes
    headers: Headers


class NotifyReceived(msgspec.Struct, frozen=True):
    """A NOTIFY inside the call that is not about a transfer of ours; answered with 200."""

    event: str
    state: str
    content_type: str
    body: bytes


class Referred:
    """A REFER (RFC 3515): the other party wants us to call ``target``.

    ``replaces`` is the Replaces field that the new INVITE shall carry (RFC 3891), empty in a
    transfer without consultation. What is not answered within 10 s is refused with 603.
    """

    __slots__ = ("_call", "_incoming", "referred_by", "replaces", "target")

    def __init__(self, call: Call, incoming: Incoming, target: str, replaces: str) -> None:
        self._call, self._incoming = call, incoming
        self.target, self.replaces = target, replaces
        self.referred_by = incoming.request.headers.get("referred-by")

    @property
    def answered(self) -> bool:
        """Nothing more can be said to it but `report`."""
        return self._incoming.machine.state != "proceeding"

    def accept(self) -> None:
        """202, and a first NOTIFY that says 100."""
        if self.answered:
            raise StateError("the transfer is answered already")
        self._incoming.respond(202, fields=self._call.own_fields())
        self.report(100)

    def reject(self, status: int = 603, reason: str = "") -> None:
        """Nothing will be called."""
        self._incoming.respond(status, reason=reason)

    def report(self, status: int, reason: str = "") -> None:
        """Tell how the call to the target goes; a final status ends the telling."""
        self._call.transfers.report(self._incoming.request.cseq, status, reason)


Event: TypeAlias = (
    Ended | Offered | Answered | InfoReceived | MessageReceived | NotifyReceived | Referred
)

"""Offer and answer in a dialog: RFC 3264 section 4, RFC 6337 section 2. Pure.

Whoever's description goes out, it is stamped with the dialog's own origin, whose version grows
when something else has changed, as RFC 3264 section 8 asks. So descriptions may come from
anywhere: an audio plane, another call (third-party call control), a process that died.
"""

from __future__ import annotations

import secrets
from typing import Literal

import msgspec

from services.core.sip import sdp
from services.core.sip.errors import StateError


class Negotiation(msgspec.Struct, kw_only=True):
    """``local`` and ``remote`` are what both last agreed on; empty before that.

    ``pending`` says whose offer waits for an answer.
    """

    local: str = ""
    remote: str = ""
    session: int = 0
    version: int = 0
    pending: Literal["", "ours", "theirs"] = ""
    proposed: str = ""

    def offer(self, description: str) -> str:
        """Our offer, as it goes out."""
        self._idle()
        stamped = self._stamp(description)
        self.pending, self.proposed = "ours", stamped
        return stamped

    def answered(self, description: str) -> None:
        """Their answer came."""
        if self.pending != "ours":
            raise StateError("an answer to no offer")
        self.local, self.remote = self.proposed, description
        self.pending, self.proposed = "", ""

    def offered(self, description: str) -> None:
        """Their offer came."""
        self._idle()
        self.pending, self.proposed = "theirs", description

    def answer(self, description: str) -> str:
        """Our answer, as it goes out."""
        if self.pending != "theirs":
            raise StateError("there is no offer to answer")
        stamped = self._stamp(description)
        self.local, self.remote = stamped, self.proposed
        self.pending, self.proposed = "", ""
        return stamped

    def withdrawn(self) -> None:
        """The offer was refused, or its transaction failed: what was agreed before holds."""
        self.pending, self.proposed = "", ""

    def unchanged(self, description: str) -> bool:
        """Whether an offer of theirs is what is agreed already: a session refresh."""
        return bool(self.local) and description == self.remote

    def _idle(self) -> None:
        if self.pending:
            raise StateError(f"an offer of {self.pending} is pending")

    def _stamp(self, description: str) -> str:
        last = self.local
        if last and sdp.without_origin(last) == sdp.without_origin(description):
            return last
        if not self.session:
            self.session = secrets.randbits(48)
        self.version += 1
        return sdp.with_origin(description, self.session, self.version)

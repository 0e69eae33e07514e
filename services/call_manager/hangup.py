"""The BYEs that end an answered call from here: to each party, as if the other had sent it. Pure.

Kamailio carries them, frees the call's media and tells its end (in_dialog.py). The dialog module's
own BYEs go to the Contact as the phone wrote it.
"""

from __future__ import annotations

import secrets

import msgspec

from services.call_manager.in_dialog import legs
from services.call_manager.routing.identity import END
from services.call_manager.routing.sequence import LARGEST
from services.core.events import Answered


class Bye(msgspec.Struct, frozen=True):
    """``headers`` are whole lines, all that is not the sender's."""

    uri: str
    headers: str

    def message(self, source: str, port: int) -> bytes:
        """As it is sent from this address and port; ``source`` as it stands in a URI."""
        via = f"SIP/2.0/UDP {source}:{port};branch=z9hG4bK{secrets.token_hex(8)};rport"
        return (
            f"BYE {self.uri} SIP/2.0\r\nVia: {via}\r\n{self.headers}"
            "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        ).encode()


def byes(answered: Answered, here: str, reason: str) -> tuple[Bye, ...]:
    """To the caller and to the callee; none where the event does not say how they are reached."""
    # No request of the party came later (RFC 3261 section 8.1.1.5), and none will.
    number = f"CSeq: {LARGEST} BYE\r\n"
    return tuple(
        Bye(leg.uri, f"{leg.headers}{number}{END}: {reason}\r\n")
        for leg in legs(answered, here) or ()
    )

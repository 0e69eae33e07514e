"""Has the other Call Managers' Kamailios tell all that they know of phones, after a gap.

Kamailio tells the others of each registration and subscription when it is made, again for 5 s where
nobody answers (dmq), and asks for all of them only when it starts. Who was cut off for longer would
not know those that were made meanwhile until the phones make them again, and calls to these phones
would fail once the VIP is there.

They are asked for while the VIP is elsewhere only: what others tell of a binding has no connection
with it, and the holder would forget those of its phones. Pure, but for `ask`.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable
from functools import partial

import trio

from services.call_manager.options import over_udp
from services.call_manager.routing.uri import host
from services.core.settings import Peer

LATER = 10.0
"""Seconds after which they are asked once more: until their next ping (5 s) the other Kamailios may
take this one for gone, and tell it nothing new."""
WITHIN = 4.0
"""Seconds for a Kamailio to answer."""
PAUSE = 30.0
"""Seconds from one gap to the next that counts: who is heard badly is not asked all the time."""
TABLES = {"usrloc": 3, "htable": 1}
"""Kamailio's modules, by the names that they have for each other, and each one's number for "tell
me everything" (usrloc_sync.h, ht_dmq.h)."""


class Missed:
    """Whom there is something to be asked of, and when. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._due: dict[Peer, tuple[float, ...]] = {}
        self._first: dict[Peer, float] = {}

    def gap(self, peer: Peer, now: float) -> None:
        """What this one told may not have arrived."""
        last = self._first.get(peer, -math.inf)
        if last > now:
            # It will be asked after this gap as well.
            return
        first = self._first[peer] = max(now, last + PAUSE)
        self._due[peer] = tuple(sorted({*self._due.get(peer, ()), first, first + LATER}))

    def due(self, now: float) -> list[Peer]:
        """Who is to be asked now; they count as asked."""
        found = [peer for peer, times in self._due.items() if times[0] <= now]
        for peer in found:
            left = tuple(at for at in self._due.pop(peer) if at > now)
            if left:
                self._due[peer] = left
        return found


def requests(own: str, peer: str, port: int) -> list[Callable[[int], bytes]]:
    """What Kamailio at ``own`` says to the one at ``peer`` when it starts, given the sender's
    port."""
    return [
        partial(_message, name, action, host(own), host(peer), port)
        for name, action in TABLES.items()
    ]


def _message(name: str, action: int, own: str, peer: str, port: int, sender: int) -> bytes:
    body = json.dumps({"action": action})
    return (
        f"KDMQ sip:{name}@{peer}:{port} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {own}:{sender};branch=z9hG4bK{secrets.token_hex(8)};rport\r\n"
        f"From: <sip:{name}@{own}:{port}>;tag={secrets.token_hex(4)}\r\n"
        f"To: <sip:{name}@{peer}:{port}>\r\n"
        f"Call-ID: {secrets.token_hex(12)}\r\n"
        "CSeq: 1 KDMQ\r\n"
        "Max-Forwards: 1\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def ask(own: str, peer: Peer, port: int) -> None:
    """Have a Kamailio tell ours everything. Raises OSError and OptionsError."""
    with trio.move_on_after(WITHIN):
        for request in requests(own, peer.address, port):
            await over_udp(peer.address, port, own, request)

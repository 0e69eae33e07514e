"""The four transactions of RFC 3261 section 17, with RFC 6026. Pure: the time comes in.

Each has ``due``, the time of its next timer (infinity if it has none); `tick` does what is due
then and returns what to send. ``over`` says that it can be forgotten, ``expired`` that it ended
without the answer or the ACK that it waited for. Over a reliable transport nothing is repeated and
there is no waiting for repetitions of the other side.
"""

from __future__ import annotations

import math
from typing import Literal

from services.core.sip.message import Request, Response

T1, T2, T4 = 0.5, 4.0, 5.0
"""Seconds: round trip, longest interval of repetition, longest life of a datagram."""
LONGEST = 64 * T1
NEVER = math.inf

ClientState = Literal["calling", "proceeding", "completed", "accepted", "terminated"]
ServerState = Literal["proceeding", "completed", "confirmed", "accepted", "terminated"]


class Transaction:
    """What the four have in common."""

    __slots__ = ("_interval", "_reliable", "_repeat_at", "_until", "due", "expired")

    def __init__(self, *, reliable: bool) -> None:
        self._reliable = reliable
        self._interval = T1
        self._repeat_at = self._until = self.due = NEVER
        self.expired = False

    @property
    def over(self) -> bool:
        """Nothing more will happen in it."""
        raise NotImplementedError

    def tick(self, now: float) -> bytes | None:
        """Do what is due."""
        raise NotImplementedError

    def _wait(self, repeat_at: float, until: float) -> None:
        self._repeat_at, self._until = repeat_at, until
        self.due = min(until, repeat_at)

    def _repeat(self, now: float, longest: float) -> None:
        self._interval = min(2 * self._interval, longest)
        self._wait(now + self._interval, self._until)


class ClientInvite(Transaction):
    """Section 17.1.1 (timers A, B, D) and RFC 6026 section 8.4 (timer M)."""

    __slots__ = ("_ack", "_data", "_given_up", "state")

    def __init__(self, data: bytes, now: float, *, reliable: bool) -> None:
        super().__init__(reliable=reliable)
        self.state: ClientState = "calling"
        self._data = data
        self._ack = b""
        self._given_up = False
        self._wait(NEVER if reliable else now + T1, now + LONGEST)

    @property
    def over(self) -> bool:
        return self.state == "terminated"

    def receive(self, response: Response, ack: bytes, now: float) -> tuple[bool, bytes | None]:
        """Whether the response is for the user, and what to send. ``ack`` is that of a failure."""
        if response.status < 200:
            if self.state not in ("calling", "proceeding"):
                return False, None
            self.state = "proceeding"
            self._wait(NEVER, self._until if self._given_up else NEVER)
            return True, None
        if response.status < 300:
            if self.state in ("completed", "terminated"):
                return False, None
            if self.state != "accepted":
                self.state, self._data = "accepted", b""
                self._wait(NEVER, now + LONGEST)
            return True, None
        if self.state in ("calling", "proceeding"):
            self.state, self._data, self._ack = "completed", b"", ack
            self._wait(NEVER, now if self._reliable else now + LONGEST)
            return True, ack
        return False, self._ack if self.state == "completed" else None

    def give_up(self, now: float) -> None:
        """A CANCEL was sent: end when no final response comes (RFC 3261 section 9.1)."""
        if self.state == "proceeding":
            self._given_up = True
            self._wait(NEVER, now + LONGEST)

    def tick(self, now: float) -> bytes | None:
        if now >= self._until:
            self.expired = self.state in ("calling", "proceeding")
            self.state = "terminated"
            self.due = NEVER
            return None
        if now >= self._repeat_at:
            self._repeat(now, LONGEST)
            return self._data
        return None


class ClientRequest(Transaction):
    """Section 17.1.2 (timers E, F, K): any request but INVITE and ACK."""

    __slots__ = ("_data", "state")

    def __init__(self, data: bytes, now: float, *, reliable: bool) -> None:
        super().__init__(reliable=reliable)
        self.state: ClientState = "calling"
        self._data = data
        self._wait(NEVER if reliable else now + T1, now + LONGEST)

    @property
    def over(self) -> bool:
        return self.state == "terminated"

    def receive(self, response: Response, now: float) -> bool:
        """Whether the response is for the user."""
        if self.state not in ("calling", "proceeding"):
            return False
        if response.status < 200:
            self.state, self._interval = "proceeding", T2
            return True
        self.state, self._data = "completed", b""
        self._wait(NEVER, now if self._reliable else now + T4)
        return True

    def tick(self, now: float) -> bytes | None:
        if now >= self._until:
            self.expired = self.state in ("calling", "proceeding")
            self.state = "terminated"
            self.due = NEVER
            return None
        if now >= self._repeat_at:
            self._repeat(now, T2)
            return self._data
        return None


class ServerInvite(Transaction):
    """Section 17.2.1 (timers G, H, I), RFC 6026 section 8.7 (timer L), and two more repetitions.

    Those of a 2xx until its ACK (RFC 3261 section 13.3.1.4), which its user would have to do, and
    of a reliable provisional response until its PRACK (RFC 3262 section 3): `acknowledged` and
    `pracked` stop them.
    """

    __slots__ = ("_response", "request", "state")

    def __init__(self, request: Request, *, reliable: bool) -> None:
        super().__init__(reliable=reliable)
        self.state: ServerState = "proceeding"
        self.request: Request | None = request
        self._response = b""

    @property
    def over(self) -> bool:
        return self.state == "terminated"

    def repeated(self) -> bytes | None:
        """What a repeated INVITE gets."""
        return self._response or None if self.state in ("proceeding", "completed") else None

    def respond(self, status: int, data: bytes, now: float, *, prack: bool = False) -> None:
        """A response goes out; with ``prack`` it is repeated until `pracked`."""
        self._response = data
        if status < 200:
            if prack:
                self._interval = T1
                self._wait(now + T1, now + LONGEST)
            return
        self.request = None
        self._interval = T1
        if status < 300:
            self.state = "accepted"
            self._wait(now + T1, now + LONGEST)
        else:
            self.state = "completed"
            self._wait(NEVER if self._reliable else now + T1, now + LONGEST)

    def pracked(self) -> None:
        """The PRACK came."""
        if self.state == "proceeding":
            self._wait(NEVER, NEVER)

    def acknowledged(self) -> None:
        """The ACK of the 2xx came; the transaction lives on to take in repeated INVITEs."""
        if self.state == "accepted":
            self._response = b""
            self._wait(NEVER, self._until)

    def ack(self, now: float) -> bool:
        """An ACK with this transaction's branch came; whether it was for a failure."""
        if self.state == "completed":
            self.state, self._response = "confirmed", b""
            self._wait(NEVER, now if self._reliable else now + T4)
        return self.state != "accepted"

    def tick(self, now: float) -> bytes | None:
        if now >= self._until:
            self.due = NEVER
            if self.state == "proceeding":
                self.expired = True  # the PRACK never came: the user answers 504
                self._until = self._repeat_at = NEVER
                return None
            self.expired = bool(self._response)
            self.state = "terminated"
            return None
        if now >= self._repeat_at:
            self._repeat(now, LONGEST if self.state == "proceeding" else T2)
            return self._response
        return None


class ServerRequest(Transaction):
    """Section 17.2.2 (timer J): any request but INVITE and ACK."""

    __slots__ = ("_response", "request", "state")

    def __init__(self, request: Request, *, reliable: bool) -> None:
        super().__init__(reliable=reliable)
        self.state: ServerState = "proceeding"
        self.request: Request | None = request
        self._response = b""

    @property
    def over(self) -> bool:
        return self.state == "terminated"

    def repeated(self) -> bytes | None:
        """What the repeated request gets."""
        return self._response or None

    def respond(self, status: int, data: bytes, now: float) -> None:
        """A response goes out."""
        self._response = data
        if status >= 200:
            self.state, self.request = "completed", None
            self._wait(NEVER, now if self._reliable else now + LONGEST)

    def tick(self, now: float) -> bytes | None:
        if now >= self._until:
            self.state = "terminated"
            self.due = NEVER
        return None

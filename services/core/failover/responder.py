"""Answers managers' probes while this server is well, and holds what they grant."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import trio

from services.core.discovery import Registry
from services.core.failover import wire
from services.core.failover.book import Book
from services.core.failover.clock import now, now_ns
from services.core.failover.lease import ANY, Lease
from services.core.failover.member import MANAGER, Member
from services.core.failover.wire import Ack, Answer, Claim, Message, Notice, Probe

if TYPE_CHECKING:
    from services.core.failover.fence import Fence
    from services.core.failover.floating import Floating

log = logging.getLogger(__name__)

REMEMBERED = 64
"""Answers of which the ack may still come; more than there are in a lease."""


class Responder:
    """One a process. ``well`` says whether the server has done its job just now.

    ``well`` is called many times a second: it must be cheap and must not wait.
    """

    def __init__(self, member: Member, well: Callable[[], bool]) -> None:
        self.member = member
        self.boot = secrets.randbits(63)
        self.well = well
        self.lease = Lease(
            (peer.name for peer in member.others), member.quorum - int(member.is_manager)
        )
        self.answered: Callable[[Answer, tuple[str, int]], None] | None = None
        self.opinion: Callable[[Ack], None] | None = None
        """Who is told each acknowledgement of this boot's answers, for what it says is down."""
        self.fence: Fence | None = None
        self.members: Callable[[], dict[str, tuple[str, int]]] = dict
        """Where a manager's `Detector` finds the members that it probes."""
        self._manager_hosts = {(peer.name, peer.address) for peer in member.others}
        self._ports: dict[str, int] = {}
        self._floating: list[Floating] = []
        self._answers: dict[int, tuple[Claim, ...]] = {}
        self._socket: socket.socket | None = None
        self._book: Book | None = None
        self._book_wanted = trio.Event()

    @property
    def probe(self) -> str:
        """``address:port``, for the service's meta; empty where nobody probes."""
        return self.member.probe

    @property
    def fenced(self) -> bool:
        """Whether no quorum of managers has probed this server within 250 ms."""
        return bool(self.member.managers) and self.lease.until(ANY) <= now()

    def add(self, floating: Floating) -> None:
        """Claim in every answer what ``floating`` claims."""
        self._floating.append(floating)

    def book(self, registry: Registry) -> Book:
        """The cluster's names, followed while `run` runs."""
        if self._book is None:
            self._book = Book(self.member.cluster, registry)
            self._book.written = self._spread
            self._book_wanted.set()
        return self._book

    def send(self, message: Message, to: tuple[str, int]) -> None:
        """Send at once or not at all: a late probe is worth nothing."""
        if self._socket is None:
            return
        with suppress(OSError):  # no route, no buffer: it counts as lost
            self._socket.sendto(wire.encode(self.member.key, message), to)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer, for ever. Raises OSError for an address or port that it cannot have."""
        member = self.member
        if not member.managers:
            task_status.started()
            await trio.sleep_forever()
        family = socket.AF_INET6 if ":" in member.address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as own:
            own.setblocking(False)
            own.bind((member.address, member.port))
            self._socket = own
            task_status.started()
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._follow_book)
                    nursery.start_soon(self._receive, trio.socket.from_stdlib_socket(own))
            finally:
                self._socket = None

    async def _follow_book(self) -> None:
        await self._book_wanted.wait()
        if self._book is not None:
            await self._book.follow()

    async def _receive(self, own: trio.socket.SocketType) -> None:
        key = self.member.key
        while True:
            try:
                datagram, sender = await own.recvfrom(wire.LARGEST + 1)
            except OSError as error:
                log.debug("probe socket: %s", error)
                continue
            message = wire.decode(key, datagram)
            if isinstance(message, Probe):
                self._answer(message, sender[:2])
            elif isinstance(message, Ack):
                self._granted(message)
            elif isinstance(message, Answer) and self.answered is not None:
                self.answered(message, sender[:2])
            elif isinstance(message, Notice) and self._book is not None:
                self._book.heard(message)
                if not message.relayed:
                    self._relay(message)

    def _answer(self, probe: Probe, sender: tuple[str, int]) -> None:
        if (probe.manager, sender[0]) in self._manager_hosts:
            self._ports[probe.manager] = sender[1]
        if probe.target != self.member.name or not self.well():
            return
        # What an earlier life left on an interface is nobody's claim: it goes first.
        if not all(floating.clean for floating in self._floating):
            return
        claims = tuple(claim for floating in self._floating for claim in floating.claims)
        stamp = now_ns()
        self._answers[stamp] = claims
        while len(self._answers) > REMEMBERED:
            del self._answers[next(iter(self._answers))]
        answer = Answer(self.member.name, self.boot, probe.boot, probe.sequence, stamp, claims)
        self.send(answer, sender)

    def _spread(self, notice: Notice) -> None:
        """Tell the managers, and through them the candidates, of a write of ours."""
        for peer in self.member.others:
            if peer.name in self._ports:
                self.send(notice, (peer.address, self._ports[peer.name]))
        self._relay(notice)

    def _relay(self, notice: Notice) -> None:
        """A manager knows where the candidates are: those of the holder's role."""
        role = notice.member.partition("/")[0]
        relayed = msgspec.structs.replace(notice, relayed=True)
        for member, where in self.members().items():
            if member.partition("/")[0] == role != MANAGER:
                self.send(relayed, where)

    def _granted(self, ack: Ack) -> None:
        claims = self._answers.get(ack.stamp)
        if ack.boot != self.boot or claims is None:
            return
        if self.fence is not None:
            self.fence.look()
        self.lease.ack(
            ack.manager, ack.stamp / 1e9, ack.granted, [claim.session for claim in claims]
        )
        self.lease.forget([c.session for floating in self._floating for c in floating.claims])
        if self.fence is not None:
            self.fence.granted()
        if self.opinion is not None:
            self.opinion(ack)
        for floating in self._floating:
            floating.granted()

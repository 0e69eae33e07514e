"""A name that one server of several holds, with the addresses that go with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import trio

from services.core.discovery import (
    Registry,
    RegistryError,
    RegistryRefusedError,
    Session,
)
from services.core.failover.addresses import AddressError, Addresses
from services.core.failover.clock import now
from services.core.failover.election import (
    Close,
    Command,
    Drop,
    Election,
    Keep,
    Open,
    Release,
    Take,
)
from services.core.failover.keeper import Keeper
from services.core.failover.responder import Responder
from services.core.failover.suspicion import Hold
from services.core.failover.timing import SHY, TICK
from services.core.failover.wire import Claim

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks whether the session that is ready still is one."""
LEAVE_WITHIN = 1.0
ALONE_EVERY = 0.2
NOTE_EVERY = 2.0
"""Seconds between two looks whether the registry has the only holder's name."""


class HandOverError(Exception):
    """What was asked cannot be handed over; the message says why."""


class Floating:
    """Holds ``name`` (``vip``, ``media/<server>``) or waits until it may. One a name and process.

    Key ``pbx/<cluster>/floating/<name>``. ``addresses`` are CIDR, IPv4 or IPv6; they are on an
    interface of this host exactly while the name is held and the lease lasts. No addresses: a lock
    with fencing. ``candidates`` are servers that may be handed it by name; () for any.

    ``eligible``: whether this process may have it now (``Responder``'s ``well`` besides); a holder
    that is not eligible any more gives it up. ``reluctance``: seconds to leave others the first
    chance when it has become free (0: at once); by it load or a home server is preferred.

    ``on_gain`` and ``on_lose`` run in the task of `run` and must not wait; on_lose comes after the
    addresses are gone. Both are about the lease: it may be lost and come back with nobody else
    having held it.

    With no managers, or this process the only one, it is held for ever; with no managers no
    address is touched, and one that the host was given for good never is.
    """

    def __init__(
        self,
        responder: Responder,
        registry: Registry,
        name: str,
        *,
        addresses: tuple[str, ...] = (),
        candidates: tuple[str, ...] = (),
        eligible: Callable[[], bool] = lambda: True,
        reluctance: Callable[[], float] = lambda: 0.0,
        on_gain: Callable[[], None] = lambda: None,
        on_lose: Callable[[], None] = lambda: None,
    ) -> None:
        member = responder.member
        self.name = name
        self._member = member
        self._responder = responder
        self._registry = registry
        self._candidates = candidates
        self._eligible = eligible
        self._reluctance = reluctance
        self._on_gain, self._on_lose = on_gain, on_lose
        self._book = responder.book(registry)
        self._election = Election(member.name, member.quorum)
        found = Addresses(addresses, member.address) if addresses and member.managers else None
        self._addresses = found
        self._keeper = Keeper(name, found, self._changed)
        self._wake = trio.Event()
        self._seen = trio.Event()
        self._was_up = False
        self._since: float | None = None
        self._swept = False
        self._ended: list[str] = []
        responder.add(self)

    @property
    def held(self) -> bool:
        """Whether this process holds it, with a lease that lasts."""
        return self._keeper.up and now() < self._keeper.until

    @property
    def since(self) -> float | None:
        """Unix time from which it has been held here; None while it is not."""
        return self._since if self.held else None

    @property
    def holder(self) -> str:
        """The server that holds it as the registry last said; empty if none."""
        if self._member.alone:
            return self._member.server
        hold = self._election.hold
        return "" if hold is None or hold.released else hold.member.rpartition("/")[2]

    @property
    def address(self) -> str:
        """This host's own address on the cluster network."""
        return self._member.address

    @property
    def problem(self) -> str:
        """Why the addresses are not as they should be; empty if they are."""
        return self._keeper.problem

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The sessions that this process holds by, or will."""
        return self._election.claims

    @property
    def clean(self) -> bool:
        """Whether nothing of an earlier life is on an interface any more."""
        return self._keeper.clean

    def granted(self) -> None:
        """The lease may be longer than before."""
        if not self._keeper.up:
            self._wake.set()

    async def hand_over(self, to: str = "") -> None:
        """Give it to server ``to``, or to whoever comes first; returns when another has it.

        Raises HandOverError if it is not held here, ``to`` is no candidate, or nobody took it
        within 2 s (it is then open to all again, this server included).
        """
        if not self.held or self._member.alone:
            raise HandOverError(f"{self.name} is not held here by election")
        if to == self._member.server:
            raise HandOverError(f"{to} holds {self.name} already")
        if to and self._candidates and to not in self._candidates:
            known = ", ".join(self._candidates)
            raise HandOverError(f"{to} cannot hold {self.name}; those that can are {known}")
        self._election.hand_over(to)
        self._wake.set()
        with trio.move_on_after(SHY):
            while True:
                seen = self._seen
                if self.holder not in ("", self._member.server):
                    return
                await seen.wait()
        raise HandOverError(f"{to or 'nobody'} did not take {self.name} within {SHY:g} s")

    async def run(self) -> None:
        """Compete, hold, give up, for ever; cancelled, it drops the addresses and gives up."""
        if self._member.alone:
            await self._alone()
        self._book.listen(self._see)
        self._see()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keeper.run)
                nursery.start_soon(self._look)
                while True:
                    # Before it looks: what comes meanwhile is looked at next time round.
                    self._wake = trio.Event()
                    for command in self._decide():
                        self._carry(command, nursery)
                    self._tell()
                    with trio.move_on_after(TICK):
                        await self._wake.wait()
        finally:
            with trio.move_on_after(LEAVE_WITHIN, shield=True):
                await self._leave()

    def _decide(self) -> list[Command]:
        lease, time = self._responder.lease, now()
        return self._election.decide(
            time,
            until=lease.until,
            refused=lambda session: lease.refused(session, time),
            eligible=self._responder.well() and self._eligible(),
            reluctance=self._reluctance(),
        )

    def _carry(self, command: Command, nursery: trio.Nursery) -> None:
        match command:
            case Keep(until):
                self._keeper.keep(until)
            case Drop():
                if self._keeper.up or not self._keeper.clean or self._keeper.until > now():
                    self._keeper.drop()
                else:
                    self._election.dropped()
                    self._wake.set()
            case Open():
                nursery.start_soon(self._open)
            case Close(session):
                nursery.start_soon(self._close, session)
            case Take():
                nursery.start_soon(self._take, command)
            case Release():
                nursery.start_soon(self._release, command)

    def _changed(self) -> None:
        """The keeper has put the addresses there, or taken them away."""
        if not self._keeper.up:
            self._election.dropped()
        self._tell()
        self._wake.set()

    def _tell(self) -> None:
        up = self._keeper.up
        if up == self._was_up:
            return
        self._was_up = up
        if up:
            self._since = time.time()
            log.warning("%s is held here", self.name)
            self._on_gain()
        else:
            self._since = None
            log.warning("%s is not held here any more", self.name)
            self._on_lose()

    def _see(self) -> None:
        book, time = self._book, now()
        if not book.read:
            return
        hold = book.holds.get(self.name)
        for command in self._election.see(hold, time):
            if isinstance(command, Close):
                self._ended.append(command.session)
        if hold is not None:
            self._election.suspect(hold.epoch, book.suspicions.get(hold.epoch, {}), time)
        self._wake.set()
        self._seen.set()
        self._seen = trio.Event()

    async def _open(self) -> None:
        claim: Claim | None = None
        member = self._member
        name = f"{member.cluster} {self.name} {member.name}"
        try:
            if not self._swept:
                for old in await self._registry.sessions():
                    if old.name == name:
                        await self._registry.destroy_session(old.id)
                self._swept = True
            checks = (f"service:{member.service}",) if member.service else ()
            made = await self._registry.create_session(
                Session(name=name, service_checks=checks), once=True
            )
            info = await self._registry.session(made)
            if info is not None:
                claim = Claim(made, info.index)
        except RegistryError as error:
            log.debug("%s: no session: %s", self.name, error)
        self._election.opened(claim, now())
        self._wake.set()

    async def _close(self, session: str) -> None:
        try:
            await self._registry.destroy_session(session)
        except RegistryError as error:
            log.debug("%s: a session of ours stays: %s", self.name, error)

    async def _take(self, take: Take) -> None:
        hold: Hold | None = None
        unknown = False
        try:
            hold = await self._book.take(take, self.name, self._member.name)
        except RegistryRefusedError as error:
            log.warning("%s: not taken: %s", self.name, error)
        except RegistryError as error:
            log.warning("%s: perhaps not taken: %s", self.name, error)
            unknown = True
        except KeyError:  # a suspicion was withdrawn meanwhile
            pass
        self._election.took(take, hold, now(), unknown=unknown)
        if hold is None and not unknown:
            await self._check(take.session, stale=False)
        self._wake.set()

    async def _release(self, release: Release) -> None:
        hold: Hold | None = None
        try:
            hold = await self._book.release(release)
        except RegistryError as error:
            log.warning("%s: perhaps not released: %s", self.name, error)
        self._election.released(hold, now())
        self._wake.set()

    async def _look(self) -> None:
        while True:
            await trio.sleep(LOOK_EVERY)
            while self._ended:
                await self._close(self._ended.pop())
            for claim in self._election.claims:
                await self._check(claim.session, stale=True)

    async def _check(self, session: str, *, stale: bool) -> None:
        try:
            if stale and await self._registry.session(session, stale=True) is not None:
                return
            if await self._registry.session(session) is None:
                self._election.ended(session)
                self._wake.set()
        except RegistryError:
            pass  # asked again in a second

    async def _leave(self) -> None:
        """Drop the addresses, then let others have the name at once."""
        if self._addresses is not None:
            try:
                await trio.to_thread.run_sync(self._addresses.drop)
            except AddressError as error:
                # Until its lifetime ends it may be here yet: nobody is told that it is free.
                log.warning("%s: %s", self.name, error)
                return
        self._keeper.up = False
        self._tell()
        election = self._election
        hold = election.hold
        if election.holds and hold is not None:
            await self._release(Release(hold=hold))
        for claim in election.claims:
            await self._close(claim.session)

    async def _alone(self) -> None:
        """Held whatever happens; there is nobody to agree with."""
        keeper = self._keeper
        addresses = self._addresses
        if addresses is not None and await trio.to_thread.run_sync(addresses.own_already):
            addresses = None
        if addresses is None:
            keeper.up, keeper.clean = True, True
            keeper.keep(float("inf"))
            self._tell()
            await self._note()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keeper.run)
                nursery.start_soon(self._note)
                while True:
                    keeper.keep(float("inf"))
                    self._tell()
                    await trio.sleep(ALONE_EVERY)
        finally:
            with trio.move_on_after(LEAVE_WITHIN, shield=True):
                with suppress(AddressError):
                    await trio.to_thread.run_sync(addresses.drop)
            keeper.up = False
            self._tell()

    async def _note(self) -> NoReturn:
        """Let the registry name the only holder, for ever: other roles follow what it says."""
        if not self._member.managers:
            await trio.sleep_forever()
        while True:
            if self.held:
                try:
                    await self._book.note(self.name, self._member.name, f"{self._responder.boot:x}")
                except RegistryError as error:
                    log.debug("%s: its holder is not noted: %s", self.name, error)
            await trio.sleep(NOTE_EVERY)

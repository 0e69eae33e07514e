"""This Call Manager's part in the cluster: is it well, has it the VIP, whom can it not reach."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import trio

from services.call_manager.continuity import vip_is_here
from services.call_manager.options import LARGEST, OptionsError, request, status
from services.call_manager.settings import CallManagerSettings
from services.core.discovery import Registry
from services.core.failover import (
    Apart,
    Detector,
    Floating,
    HandOverError,
    Responder,
    follow_raft,
    member_of,
)
from services.core.failover.clock import now
from services.core.failover.fairness import FairTime, Patience, yardstick
from services.core.failover.timing import LONGEST, PATIENCE, PROBE

log = logging.getLogger(__name__)

NAME = "vip"
ROLE = "call-manager"


class Pulse:
    """OPTIONS to our own Kamailio ten times a second; ``beats`` is whether routing answers.

    ``clock`` is that of the processors' time: a Kamailio that is not let run does not hang.
    """

    def __init__(self, settings: CallManagerSettings, clock: FairTime) -> None:
        self._settings = settings
        self._patience = Patience(clock, PATIENCE, LONGEST)

    def beats(self) -> bool:
        """Whether an answer of 200 came lately."""
        return self._patience.lasts(now())

    async def run(self) -> None:
        """For ever."""
        s = self._settings
        family = socket.AF_INET6 if ":" in s.address else socket.AF_INET
        while True:
            try:
                with trio.socket.socket(family, socket.SOCK_DGRAM) as own:
                    await own.bind((s.address, 0))
                    await own.connect((s.address, s.sip_port))
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._listen, own)
                        await self._ask(own)
            except* OSError as group:
                # Nobody listens there: the kernel says so at once.
                log.debug("OPTIONS: %s", group.exceptions[0])
                self._patience.refused()
            await trio.sleep(PROBE)

    async def _ask(self, own: trio.socket.SocketType) -> None:
        s = self._settings
        port = own.getsockname()[1]
        while True:
            await own.send(request(s.address, s.sip_port, s.address, port, "udp"))
            await trio.sleep(PROBE)

    async def _listen(self, own: trio.socket.SocketType) -> None:
        while True:
            answer = await own.recv(LARGEST)
            try:
                well = status(answer) == 200
            except OptionsError:
                continue
            if well:
                self._patience.answered(now())


class Vip:
    """Where there is a ``vip_prefix`` the VIP is moved; else its coming and going is only seen.

    Runs in a thread of its own, that leases are renewed whatever the agent is busy with.

    ``eligible``: whether an administrator lets this server take calls. ``changed`` is called in the
    agent's loop when the VIP has come or gone; ``lost`` with the (role, server) that a majority of
    managers cannot reach, at once and whenever that changes. `run` must run.
    """

    def __init__(
        self,
        settings: CallManagerSettings,
        *,
        eligible: Callable[[], bool],
        changed: Callable[[], None],
        lost: Callable[[frozenset[tuple[str, str]]], None],
    ) -> None:
        s = settings
        self._settings = s
        self._member = member_of(s, ROLE, port=s.probe_port, managers=s.managers)
        self._eligible = eligible
        self._changed = changed
        self._lost = lost
        self._floating: Floating | None = None
        self._moves = bool(s.managers and s.vip_prefix)
        self._is_here = vip_is_here(s.vip)
        self._apart = Apart(self._main)
        self.down: frozenset[tuple[str, str]] = frozenset()

    @property
    def probe(self) -> str:
        """For the service's meta."""
        return self._member.probe

    @property
    def held(self) -> bool:
        """Whether calls come to this Call Manager; on one machine they do."""
        if not self._member.managers:
            return True
        if not self._moves:
            return self._is_here()
        return self._floating is not None and self._floating.held

    @property
    def since(self) -> float | None:
        """Unix time from which the VIP has been here; None while it is not, or never moves."""
        return self._floating.since if self._floating is not None else None

    @property
    def holder(self) -> str:
        """The server that holds the VIP as far as is known; empty if none does."""
        if not self._member.managers:
            return self._member.server
        return self._floating.holder if self._floating is not None else ""

    @property
    def problem(self) -> str:
        """Why the VIP cannot be put on an interface; empty if nothing is wrong."""
        return self._floating.problem if self._floating is not None else ""

    @property
    def names(self) -> tuple[str, ...]:
        """The servers that may hold it."""
        return tuple(peer.name for peer in self._member.managers)

    async def hand_over(self, to: str = "") -> None:
        """Let another manager have the VIP. Raises HandOverError, which says why not."""
        floating = self._floating
        if floating is None:
            raise HandOverError("the VIP of this cluster does not move")
        if to and (ROLE, to) in self.down:
            raise HandOverError(f"{to} does not answer")
        await self._apart.ask(floating.hand_over, to)

    async def run(self) -> None:
        """For ever. Raises OSError where the probe port cannot be had."""
        if not self._member.managers:
            await trio.sleep_forever()
        await self._apart.run()

    async def _main(self) -> None:
        s = self._settings
        addresses = [f"{s.vip}/{s.vip_prefix}", *filter(None, [s.vip6])]
        changed = self._apart.at_home(self._changed)
        with yardstick() as clock:
            await self._take_part(Pulse(s, clock), tuple(addresses), changed)

    async def _take_part(
        self, pulse: Pulse, addresses: tuple[str, ...], changed: Callable[[], None]
    ) -> None:
        s = self._settings
        async with Registry(s.registry, s.registry_token()) as registry:
            responder = Responder(self._member, pulse.beats)
            detector = Detector(responder, registry)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pulse.run)
                await nursery.start(responder.run)
                nursery.start_soon(detector.run)
                nursery.start_soon(self._follow, detector)
                if not self._moves:
                    return
                self._floating = floating = Floating(
                    responder,
                    registry,
                    NAME,
                    addresses=addresses,
                    candidates=self.names,
                    eligible=self._eligible,
                    on_gain=changed,
                    on_lose=changed,
                )
                nursery.start_soon(follow_raft, registry, floating)
                await floating.run()

    async def _follow(self, detector: Detector) -> None:
        async for down in detector.changes():
            self.down = down

            def tell(found: frozenset[tuple[str, str]] = down) -> None:
                self._lost(found)

            self._apart.at_home(tell)()

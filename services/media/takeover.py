"""Who serves which floating media address: this server its own, and others' while they cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import httpx
import trio

from services.core.configuration import Switch
from services.core.discovery import Instance, Registry
from services.core.failover import Floating, HandOverError, Responder
from services.core.ng import Ng, NgError
from services.media.handing import Fleet, Handing
from services.media.settings import MediaSettings

if TYPE_CHECKING:
    from services.media.mirror.mirror import Mirror

log = logging.getLogger(__name__)

PING_EVERY = 0.05
WELL_FOR = 0.3
"""Seconds for which rtpengine's last answer counts: one that hangs is found out within them."""
START_ALONE = 4.0
"""Seconds after which a server takes its own address, free, without having seen the sessions: the
others may be starting too, and Redis away."""
NEXT = 0.04
"""Seconds between the servers that may take an address over: who is first is fixed, and different
for each address."""
DECIDE_EVERY = 0.5
ASK_WITHIN = 1.0


class Heartbeat:
    """When rtpengine answered last. `run` never returns."""

    def __init__(self, ng: Ng) -> None:
        self._ng = ng
        self._answered = float("-inf")

    def beats(self) -> bool:
        """Whether rtpengine has answered within `WELL_FOR`."""
        return trio.current_time() - self._answered < WELL_FOR

    async def run(self) -> None:
        while True:
            started = trio.current_time()
            try:
                await self._ng.command("ping", deadline=WELL_FOR, attempts=2)
                self._answered = trio.current_time()
            except NgError as error:
                if "no answer" not in str(error):
                    self._answered = float("-inf")  # nobody listens there: it is dead, not slow
            await trio.sleep_until(started + PING_EVERY)


class Takeover:
    """Holds addresses, hands them over and gives them back. `run` never returns.

    ``fit`` says whether this server does its job by its own slower checks.
    """

    def __init__(
        self,
        settings: MediaSettings,
        responder: Responder,
        registry: Registry,
        mirror: Mirror,
        heartbeat: Heartbeat,
        http: httpx.AsyncClient,
        fit: Callable[[], bool],
        gained: Callable[[], None],
    ) -> None:
        self._server = settings.server
        self._home = settings.home
        self._mirror = mirror
        self._heartbeat = heartbeat
        self._http = http
        self._fit = fit
        self._gained = gained
        self._started = trio.current_time()
        self._seen: set[str] = set()
        self._fleet = Fleet(settings.server)
        self._handing = Handing(settings.server)
        self.handed_over = 0
        """Sessions that others have taken from here without having lost anything."""
        self._floating = {
            peer.name: Floating(
                responder,
                registry,
                f"media/{peer.name}",
                addresses=(f"{peer.address}/{settings.media_prefix}",),
                eligible=partial(self._eligible, peer.name),
                reluctance=partial(self._reluctance, peer.name),
                on_gain=partial(self._on_gain, peer.name),
                on_lose=partial(self._on_lose, peer.name),
            )
            for peer in settings.floating
        }

    @property
    def held(self) -> tuple[str, ...]:
        """The homes served here."""
        return tuple(home for home, floating in self._floating.items() if floating.held)

    @property
    def at_home(self) -> bool:
        """Whether this server has its own address."""
        return self._floating[self._home].held

    @property
    def away(self) -> str:
        """Who has this server's address instead; empty if nobody has."""
        holder = self._floating[self._home].holder
        return "" if holder == self._server else holder

    def see(self, instances: Iterable[Instance]) -> None:
        """The registry's picture of the media servers."""
        self._fleet.see(instances)

    def switched(self, switches: dict[str, Switch]) -> None:
        """The administrators' switches of media servers."""
        self._fleet.switches = {server: switch.state for server, switch in switches.items()}

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for floating in self._floating.values():
                nursery.start_soon(floating.run)
            nursery.start_soon(self._hand_over_forever)

    def _well(self) -> bool:
        return self._heartbeat.beats() and self._fit()

    def _eligible(self, home: str) -> bool:
        floating = self._floating[home]
        if floating.holder and floating.holder != self._server:
            self._seen.add(home)
        if floating.held:
            # Who drains keeps what it has until somebody takes it.
            return self._well()
        if not self._well() or self._fleet.switched_off(self._server):
            return False
        if home == self._home:
            alone = trio.current_time() - self._started >= START_ALONE
            return self._mirror.ready or (alone and not self.away)
        # What nobody has held yet waits for its own server.
        known = home in self._seen or bool(self._mirror.sessions.of(home))
        return known and self._mirror.ready

    def _reluctance(self, home: str) -> float:
        return 0.0 if home == self._home else NEXT * self._fleet.rank(home)

    def _on_gain(self, home: str) -> None:
        own, others = self._mirror.sessions.counts()
        self._mirror.gain(home)
        now, _ = self._mirror.sessions.counts()
        log.warning("serving media/%s: %d sessions (%d, %d before)", home, now - own, own, others)
        self._gained()

    def _on_lose(self, home: str) -> None:
        log.warning("media/%s is not served here any more", home)
        self._mirror.lose(home)

    async def leave(self) -> None:
        """Hand over what is held here to who can have it now."""
        for home in self.held:
            others = self._fleet.others()
            if others and await self._is_well(others[0]):
                await self._hand_over(home, others[0])

    async def _hand_over_forever(self) -> None:
        asked: set[str] = set()
        while True:
            now = trio.current_time()
            wanted = {
                home: candidate
                for home in self.held
                if (candidate := self._handing.candidate(home, self._fleet, now))
            }
            self._fleet.forget(asked - set(wanted.values()))
            asked = set(wanted.values())
            for server in asked:
                self._fleet.said(server, await self._is_well(server), trio.current_time())
            for home, candidate in wanted.items():
                if self._handing.due(candidate, self._fleet, trio.current_time()):
                    await self._hand_over(home, candidate)
            await trio.sleep(DECIDE_EVERY)

    async def _is_well(self, server: str) -> bool:
        """What its agent says of itself, now."""
        try:
            url = f"{self._fleet.admin(server)}/health"
            return (await self._http.get(url, timeout=ASK_WITHIN)).is_success
        except httpx.HTTPError:
            return False

    async def _hand_over(self, home: str, to: str) -> None:
        count = len(self._mirror.sessions.of(home))
        try:
            await self._floating[home].hand_over(to)
        except HandOverError as error:
            log.warning("media/%s could not be handed to %s: %s", home, to, error)
            self._handing.failed(home, trio.current_time())
            return
        self.handed_over += count
        log.warning("media/%s handed to %s with %d sessions", home, to, count)

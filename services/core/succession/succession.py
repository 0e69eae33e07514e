"""Goes on with the calls of servers that are gone, and leaves its own to others in time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import trio

from services.core.configuration import ENABLED, Switch
from services.core.discovery import Instance, Registry
from services.core.failover import Fence, Opinions, Responder
from services.core.failover.clock import now
from services.core.failover.timing import OPINION
from services.core.failover.wire import Ack
from services.core.membership import follow_switches
from services.core.redis import reason
from services.core.succession.candidates import candidates, members
from services.core.succession.estates import Estates
from services.core.succession.inheritance import Due, Estate, Inheritance
from services.core.succession.journal import AGAIN, BATCH, Journal

log = logging.getLogger(__name__)

LOOK = 0.1
"""Seconds between looks for estates that nobody works for."""
PATIENCE = 1.0
"""Seconds for calls to be written before they are handed over."""


class Succession:
    """One application server's; `run` has to run, in the event loop of ``responder``.

    ``redis`` is the cluster's (address, port). ``adopt`` gets the Call-ID and the record of a call
    to go on with. ``drop`` forgets all calls at once: no BYE, and of what it drops nothing is
    written or erased any more; others have them. ``ready``: whether a call that is adopted can be
    served. ``speak_until`` is told until when this server may send media. None of them may wait or
    raise.
    """

    def __init__(
        self,
        responder: Responder,
        registry: Registry,
        redis: tuple[str, int],
        password: str = "",
        *,
        adopt: Callable[[str, bytes], None],
        drop: Callable[[], None],
        ready: Callable[[], bool],
        speak_until: Callable[[float], None] = lambda _: None,
    ) -> None:
        member = responder.member
        self._member = member
        self._registry = registry
        self._adopt = adopt
        self._drop = drop
        self._ready = ready
        self._connect = lambda: Estates(member.cluster, member.role, redis, password)
        self.journal = Journal(member.server, self._connect, self._lost)
        self._fence = Fence(responder, self._fenced, speak_until)
        self._opinions = Opinions(member.quorum)
        self._inheritance = Inheritance(member.server)
        self._known: dict[str, Instance] = {}
        self._switches: dict[str, Switch] = {}
        self._missing: frozenset[str] = frozenset()
        self._down: frozenset[str] = frozenset()
        self._changed = trio.Event()
        self._resting = False
        responder.opinion = self._heard

    async def run(self) -> None:
        """Write, watch and inherit, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fence.run)
            nursery.start_soon(self.journal.run)
            nursery.start_soon(self._follow_servers)
            nursery.start_soon(
                follow_switches,
                self._registry,
                self._member.cluster,
                self._member.role,
                self._switched,
            )
            nursery.start_soon(self._inherit)

    @property
    def candidates(self) -> tuple[str, ...]:
        """The servers that may go on with calls of others."""
        return candidates(self._known, self._down, self._switches)

    async def hand_over(self) -> bool:
        """Leave all calls to the other servers, which find them within 0.2 s, and rest.

        False where no other server is there, or Redis does not have them all within `PATIENCE`
        seconds: then nothing has changed. New calls must not come meanwhile. A server that rests
        inherits nothing until the administrator enables it once more.
        """
        if not set(self.candidates) - {self._member.server}:
            return False
        journal = self.journal
        with trio.move_on_after(PATIENCE):
            while not journal.clean:
                await journal.flush()
        if not journal.clean:
            return False
        own, self._resting = journal.estate, True
        self._lost()
        with trio.move_on_after(PATIENCE):
            await self._leave(own)
            return True
        # Nobody else will take them: we do, when Redis is back.
        self._resting = False
        return False

    async def _leave(self, own: Estate) -> None:
        left = False
        while not left:
            try:
                estates = self._connect()
                async with estates.connected():
                    await estates.leave(own)
                left = True
            except* Exception as group:  # noqa: BLE001 - whatever a client says: try again
                log.warning("handing calls over: Redis: %s", reason(group))
                await trio.sleep(AGAIN)

    # This server is gone, as far as others know.

    def _fenced(self) -> None:
        log.warning("no quorum of managers probes this server: its calls are left to others")
        self._lost()

    def _lost(self) -> None:
        self._drop()
        self.journal.renew()

    # Other servers.

    def _heard(self, ack: Ack) -> None:
        time = now()
        self._opinions.heard(ack.manager, ack.down, ack.stamp / 1e9, time)
        missing = self._of_role(self._opinions.missing(time))
        if missing - self._missing:
            log.warning("down: %s", ", ".join(sorted(missing)))
            self._changed.set()
        self._missing = missing
        self._down = self._of_role(self._opinions.down(time))

    def _of_role(self, members: Iterable[str]) -> frozenset[str]:
        role = f"{self._member.role}/"
        return frozenset(one.removeprefix(role) for one in members if one.startswith(role))

    async def _follow_servers(self) -> None:
        async for instances in self._registry.watch_health(self._member.role):
            # A registry that came back empty is told of everybody in a moment.
            self._known = members(instances, self._member.cluster) or self._known

    def _switched(self, switches: dict[str, Switch]) -> None:
        me = self._member.server
        before, self._switches = self._switches, switches
        if before.get(me, ENABLED).state != "enabled" == switches.get(me, ENABLED).state:
            self._resting = False

    async def _inherit(self) -> None:
        while True:
            try:
                estates = self._connect()
                async with estates.connected():
                    while True:
                        self._changed = trio.Event()
                        await self._look(estates)
                        with trio.move_on_after(LOOK):
                            await self._changed.wait()
            except* Exception as group:  # noqa: BLE001 - whatever a client says: try again
                log.debug("looking for calls of others: %s", reason(group))
            await trio.sleep(AGAIN)

    async def _look(self, estates: Estates) -> None:
        found = await estates.all()
        for due in self._inheritance.due(
            found, self.journal.estate, self._known, self._missing, now()
        ):
            if self._free():
                await self._take(estates, due)

    def _free(self) -> bool:
        """Whether calls may be taken. While others may still miss us, what we take is theirs."""
        return not self._resting and self._fence.held_for(OPINION) and self._ready()

    async def _take(self, estates: Estates, due: Due) -> None:
        servers = self.candidates
        there = await estates.calls(due.estate)
        share = self._inheritance.share(due, there, servers)
        if not share and there:
            return
        taken = 0
        # Once where nothing is there: an empty estate goes.
        for start in range(0, len(share) or 1, BATCH):
            own = self.journal.estate
            if not self._free():
                break
            records = await estates.take(own, due.estate, share[start : start + BATCH])
            if records is None:
                self._lost()
                break
            if self.journal.estate != own:
                # We were gone for a moment; they are in what we left then.
                break
            for call, record in self.journal.take(due.estate, records).items():
                self._adopt(call, record)
                taken += 1
        if taken:
            log.warning("went on with %d calls of %s", taken, due.estate.server)

"""Asks media servers whether they still have their calls, and ends the calls that lost theirs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import trio

from services.call_manager.balancer import Fleet, carrier
from services.call_manager.call_log import CallLog
from services.call_manager.ending import end_call
from services.call_manager.lost_media import REASON, Lost, Outages
from services.call_manager.rpc import Rpc, RpcError
from services.call_manager.settings import CallManagerSettings
from services.call_manager.state import State
from services.call_manager.tables import MediaServer
from services.core.ng import Ng, NgError, NgTimeoutError, dictionary, open_ng, text

EVERY = 1.0
PATIENCE = 1.0
AT_ONCE = 20
"""Calls that are ended side by side: a phone that is gone too does not hold up the others."""


class MediaWatch:
    """`run` never returns. The servers are asked from this host's own address.

    ``spared`` says which calls are not to be ended.
    """

    def __init__(
        self,
        settings: CallManagerSettings,
        fleet: Fleet,
        state: State,
        calls: CallLog,
        rpc: Rpc,
        outages: Outages,
        spared: Callable[[], Collection[str]],
    ) -> None:
        self._settings = settings
        self._address = settings.address
        self._fleet = fleet
        self._state = state
        self._calls = calls
        self._rpc = rpc
        self._outages = outages
        self._spared = spared
        self._at_once = trio.CapacityLimiter(AT_ONCE)

    async def run(self, well: Callable[[], None]) -> None:
        """Look again and again. Raises RpcError where Kamailio does not answer."""
        while True:
            used = {call.media for call in self._calls.view.up.values()} - {""}
            async with trio.open_nursery() as nursery:
                for name in used:
                    nursery.start_soon(self._look, name)
            up = list(self._calls.view.up.values())
            gone = self._outages.lost(up, self._fleet.passing, time.time())
            spared = self._spared()
            gone = [lost for lost in gone if lost.call not in spared]
            if not self._state.holder:
                # Who has the VIP ends them.
                gone = []
            problems: list[RpcError] = []
            async with trio.open_nursery() as nursery:
                for lost in gone:
                    nursery.start_soon(self._end, lost, problems)
            if problems:
                raise problems[0]
            well()
            await trio.sleep(EVERY)

    async def _end(self, lost: Lost, problems: list[RpcError]) -> None:
        async with self._at_once:
            if not lost.certain and not await self._is_gone(lost):
                return
            try:
                await end_call(self._calls, self._rpc, self._settings, lost.call, REASON)
            except RpcError as error:
                problems.append(error)
            else:
                self._outages.ended(lost.call, time.time())

    async def _look(self, name: str) -> None:
        uptime: float | None = None
        server = carrier(self._state.media, name)
        if server is not None:
            async with open_ng(*server.control_address, self._address) as ng:
                uptime = await _uptime(ng)
        self._outages.see(name, uptime, time.time())

    async def _is_gone(self, lost: Lost) -> bool:
        server = carrier(self._state.media, lost.server)
        known = None if server is None else await knows(server, lost.call, self._address)
        if known:
            self._outages.keep(lost.call)
        return known is False


async def knows(server: MediaServer, call: str, source: str) -> bool | None:
    """Whether a media server has a call; None where it does not answer."""
    async with open_ng(*server.control_address, source) as ng:
        try:
            await ng.command("query", {"call-id": call}, deadline=PATIENCE)
        except NgTimeoutError:
            return None
        except NgError:
            return False
    return True


async def _uptime(ng: Ng) -> float | None:
    try:
        answer = await ng.command("statistics", deadline=PATIENCE)
    except NgError:
        return None
    total = dictionary(dictionary(answer.get("statistics")).get("totalstatistics"))
    try:
        return float(text(total.get("uptime")))
    except ValueError:
        return None

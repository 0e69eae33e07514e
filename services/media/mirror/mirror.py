"""Keeps this server's rtpengine, its memory of all sessions, and Redis in agreement."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping

import trio

from services.media.health import PROBE
from services.media.mirror import cli
from services.media.mirror.document import ports_of
from services.media.mirror.relay import Relay
from services.media.mirror.sessions import Action, Notify, Remove, Sessions, Store
from services.media.mirror.store import Exchange
from services.media.tap import Place

log = logging.getLogger(__name__)

COMPARE_EVERY = 5.0
SETTLE = 1.0
"""Seconds after an address was lost until sessions are taken anew: it may come back at once."""
AGAIN = 0.5
ABSENT = 15.0
"""Seconds after which a session that rtpengine does not take counts as over."""
LATE = 2.0
"""Seconds for which rtpengine may not have taken a session that it was told of."""
UNWRITTEN = 2.0
"""Seconds for which rtpengine may have a session that it has not written yet."""
REMEMBERED = 1000
ADVANCE = 240.0
"""Seconds between two looks at how far SRTP streams are: 24,000 packets of 10 ms, of 32,768."""


class Mirror:
    """``homes`` are the cluster's floating media addresses by name.

    Its face for who moves addresses: `gain`, `lose`, and `ready`. ``restarted`` is called when
    rtpengine may have started anew.
    """

    def __init__(
        self,
        cluster: str,
        server: str,
        homes: Mapping[str, str],
        *,
        port: int,
        cli_port: int,
        redis: tuple[str, int],
        password: str = "",
        restarted: Callable[[], None] = lambda: None,
    ) -> None:
        self.sessions = Sessions(homes)
        self._addresses = homes
        self._restarted = restarted
        self._port = port
        self._cli_port = cli_port
        self._relay = Relay(self.sessions, self._act, self._subscribed)
        self._exchange = Exchange(cluster, server, redis, password, self.sessions, self._act)
        self._compare = trio.Event()
        self._lost = float("-inf")
        self._resync = False
        self._complete = False
        self._since: dict[tuple[str, str], float] = {}
        self._asked: set[str] = set()
        self._recorded: frozenset[str] = frozenset()
        self._over: OrderedDict[str, None] = OrderedDict()

    @property
    def ready(self) -> bool:
        """Whether rtpengine has what the other servers would need it to have."""
        return self._complete and self._relay.followed and self._exchange.current.is_set()

    @property
    def problem(self) -> str:
        """Why sessions are not mirrored; empty if they are."""
        return self._exchange.problem

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Mirror, for ever. Raises OSError for a port that it cannot have."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._relay.serve, self._port)
            nursery.start_soon(self._exchange.write)
            nursery.start_soon(self._exchange.read)
            nursery.start_soon(self._agree)
            nursery.start_soon(self._advance)
            task_status.started()

    def gain(self, home: str) -> None:
        """This server has the home's address, and with it its sessions."""
        self.sessions.gain(home)
        self._exchange.everything()
        self._compare.set()

    def lose(self, home: str) -> None:
        """The home's address has gone from here."""
        self.sessions.lose(home)
        self._lost = trio.current_time()
        self._compare.set()

    def serves(self, call: str) -> bool:
        """Whether a session is, or was until just now, served here."""
        session = self.sessions.get(call)
        return call in self._over if session is None else session.home in self.sessions.held

    def sockets(self, call: str) -> tuple[frozenset[Place], float]:
        """Where a session that is served here sends from, and its age in seconds."""
        session = self.sessions.get(call)
        if session is None or session.home not in self.sessions.held:
            return frozenset(), 0.0
        address = self._addresses[session.home]
        ports, created = ports_of(session.document)
        return frozenset((address, port) for port in ports), time.time() - created

    def recording(self, calls: Collection[str]) -> None:
        """The calls that are being recorded here, all of them."""
        wanted = self.sessions.recordings().keys()
        for call in wanted - calls:
            if call in self._recorded:
                self._act(self.sessions.recorded(call, recorded=False))
        for call in calls - wanted:
            self._act(self.sessions.recorded(call, recorded=True))
        self._recorded = frozenset(calls)

    def _act(self, actions: Iterable[Action]) -> None:
        writes: list[Store | Remove] = []
        for action in actions:
            if isinstance(action, Notify):
                self._relay.notify(action)
            else:
                writes.append(action)
                if isinstance(action, Remove):
                    self._over[action.call] = None
        if writes:
            self._exchange.put(writes)
        while len(self._over) > REMEMBERED:
            self._over.popitem(last=False)

    def _subscribed(self) -> None:
        """rtpengine has started, or has missed what was told while this process was not there."""
        self._resync, self._complete = True, False
        self._compare.set()

    async def _advance(self) -> None:
        """Keep the packet indices of long SRTP calls, which rtpengine does not write by itself."""
        while True:
            round_over = trio.current_time() + ADVANCE
            calls = self.sessions.ageing()
            for number, call in enumerate(calls, 1):
                await trio.sleep_until(round_over - ADVANCE * (1 - number / (len(calls) + 1)))
                try:
                    self._act(self.sessions.advance(call, await cli.received(self._cli_port, call)))
                except cli.CliError as error:
                    log.debug("%s", error)
            await trio.sleep_until(round_over)

    async def _agree(self) -> None:
        while True:
            try:
                wait = COMPARE_EVERY if await self._agree_once() else AGAIN
            except cli.CliError as error:
                log.debug("%s", error)
                self._complete = False
                await trio.sleep(AGAIN)
                continue
            with trio.move_on_after(wait):
                await self._compare.wait()
            self._compare = trio.Event()

    async def _agree_once(self) -> bool:
        """Compare once, and mend; whether there was nothing to mend."""
        if self._resync:
            self._resync = False
            self._restarted()
            self._act(self.sessions.refresh())
        there = await cli.sessions(self._cli_port)
        settled = await self._give_up(there) and await self._have_written(there)
        wrong = self.sessions.compare(there.keys())
        self._act(wrong)
        missing = {a.call for a in wrong if isinstance(a, Notify) and a.event == "set"}
        for call in self._lasting("absent", missing, ABSENT):
            log.warning("rtpengine does not take the session of call %s", call)
            self._act(self.sessions.dropped(call))
        # A session that was told just now may be on its way; at the start all have to be there.
        late = self._lasting("late", missing, LATE) if self._complete else missing
        self._complete = not late
        return settled and not missing

    async def _give_up(self, there: Mapping[str, bool]) -> bool:
        """rtpengine takes no other's version of a session that it has for its own: make them
        foreign. Those that are served here become its own again with their next packet."""
        held = self.sessions.held
        strays = [
            call
            for call, foreign in there.items()
            if not foreign and (known := self.sessions.get(call)) and known.home not in held
        ]
        if not strays:
            return True
        if trio.current_time() >= self._lost + SETTLE:
            await cli.standby(self._cli_port)
            self._act(self.sessions.refresh())
        return False

    async def _have_written(self, there: Mapping[str, bool]) -> bool:
        """rtpengine writes a session when it changes. What was set up while this process was away
        it writes if it is made to write everything; what it writes of other servers' sessions is
        not taken, and `standby` takes back what it makes of them."""
        unwritten = {
            call
            for call, foreign in there.items()
            if not foreign and self.sessions.get(call) is None and not call.startswith(PROBE)
        }
        late = self._lasting("unwritten", unwritten - self._asked, UNWRITTEN)
        if late and self.sessions.held:
            log.warning("%d sessions were not written: having rtpengine write all", len(late))
            self._asked |= late
            await cli.active(self._cli_port)
            await cli.standby(self._cli_port)
        self._asked &= there.keys()
        return not unwritten - self._asked

    def _lasting(self, what: str, calls: Collection[str], seconds: float) -> set[str]:
        """Those of ``calls`` that were among them for so long."""
        now = trio.current_time()
        known = {key: at for key, at in self._since.items() if key[0] != what or key[1] in calls}
        for call in calls:
            known.setdefault((what, call), now)
        self._since = known
        return {call for call in calls if now - known[what, call] >= seconds}

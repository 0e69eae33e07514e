"""Keeps calls going over a change of the VIP's holder: follows the others, tells Kamailio.

What is decided is in takeover.py; what Kamailio makes of it in routing/kamailio_cluster.py.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from services.call_manager import control, resync, takeover
from services.call_manager.call_log import CallLog
from services.call_manager.calls import Call
from services.call_manager.options import OptionsError
from services.call_manager.replication import Following
from services.call_manager.rpc import Rpc, RpcError
from services.call_manager.settings import CallManagerSettings
from services.call_manager.state import State
from services.core.settings import Peer

log = logging.getLogger(__name__)

EVERY = 0.2
LASTS = 3
"""Seconds for which the agent's word on the term holds; the VIP itself is lost earlier."""
RECENT = 40
"""Seconds for which a take-over counts as such: longer than anything is said again (32 s)."""
AT_FIRST = 1.0
"""Seconds for Kamailio to take up what can be taken up at once. Until then such a call is counted
by nobody, for soon Kamailio does; what waits longer for a phone is counted as before."""
AGAIN = 0.5
"""Seconds between two tries to have a call taken up: it waits for phones to connect again."""
AT_ONCE = 500
"""Entries of a hash table, or calls to be taken up, that are told in one step."""
NOT_THERE = 404
NOTHING = (-1, "", False)
"""What Kamailio's tables were last made of, where that is not known."""
PACE = 0.02
BURST = 20
"""Restorations in a row, and the pause in s after them: Kamailio has to find a media server for
each, and its receive queue is not without end."""


class Continuity:
    """`run` and `follow_others` never return. ``holds`` says whether this host has the VIP.

    ``taken`` is called when it has come here and Kamailio knows.
    """

    def __init__(
        self,
        settings: CallManagerSettings,
        calls: CallLog,
        rpc: Rpc,
        state: State,
        holds: Callable[[], bool],
        taken: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        self._settings = settings
        self._key = settings.cluster_key()
        self._calls = calls
        self._rpc = rpc
        self._state = state
        self._holds = holds
        self._taken = taken
        token = settings.admin_token()
        self._others = [
            Following(peer, settings.admin_port, token, calls.take, self._gap)
            for peer in settings.peers
        ]
        self._term = ""
        self._wake = trio.Event()
        self._came = float("-inf")
        self._next_try = float("inf")
        self._boot = ""
        self._interrupted = False
        self._counted: dict[str, str] = {}
        self._spoken: dict[str, str] = {}
        self._anchored: dict[str, str] = {}
        self._seen = NOTHING
        self._missed = resync.Missed()
        if self._others:
            calls.hear_others = self._hear_others

    def look(self) -> None:
        """The VIP may have come."""
        self._wake.set()

    def lose(self) -> None:
        """The VIP was lost, even if it is here again already: another one may have had it."""
        self._interrupted = True
        self._wake.set()

    async def follow_others(self) -> None:
        """Take what the other Call Managers tell, for ever."""
        async with trio.open_nursery() as nursery:
            for one in self._others:
                nursery.start_soon(one.run)
            nursery.start_soon(self._catch_up)

    async def listen(self) -> None:
        """Hear from Kamailio's workers that there are events, for ever."""
        path = self._settings.events_socket
        path.unlink(missing_ok=True)
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            await own.bind(str(path))
            while True:
                await own.recv(64)
                self._calls.wake()

    async def run(self, well: Callable[[], None]) -> None:
        """Make Kamailio know what holds, again and again; while it is away it carries no call."""
        while True:
            try:
                await self._step()
            except RpcError as error:
                log.debug("Kamailio is not told who has the VIP: %s", error)
            else:
                well()
            with trio.move_on_after(EVERY):
                await self._wake.wait()
            self._wake = trio.Event()

    async def _hear_others(self) -> None:
        async with trio.open_nursery() as nursery:
            for one in self._others:
                nursery.start_soon(one.first.wait)

    async def _step(self) -> None:
        await self._notice_restart()
        held = self._state.holder = self._holds()
        if self._term and (not held or self._interrupted or self._calls.contested):
            await self._lost()
        self._interrupted = self._calls.contested = False
        if held and not self._term:
            await self._gained()
        if self._term:
            await self._rpc("htable.setxs", "cluster", "term", self._term, LASTS)
        await self._tell()
        if trio.current_time() >= self._next_try:
            await self._restore()
        silent = [one.peer.name for one in self._others if not one.current]
        self._state.tell(
            "calls of others", f"calls of {', '.join(silent)} are not known here" if silent else ""
        )

    def _gap(self, peer: Peer) -> None:
        self._missed.gap(peer, trio.current_time())

    async def _catch_up(self) -> None:
        """Have Kamailio told of the phones that it may have missed, for ever."""
        s = self._settings
        while True:
            await trio.sleep(EVERY)
            for peer in () if self._state.holder else self._missed.due(trio.current_time()):
                log.info("phones of %s are asked for", peer.name)
                try:
                    await resync.ask(s.address, peer, s.dmq_port)
                except (OSError, OptionsError) as error:
                    log.warning("phones of %s are not asked for: %s", peer.name, error)

    async def _notice_restart(self) -> None:
        """A Kamailio that has started anew knows nothing, and its dialogs are gone.

        To an agent that has started anew itself, all that Kamailio knows is of another time.
        """
        if self._boot and await control.get(self._rpc, "cluster", "boot") is not None:
            return
        boot = os.urandom(8).hex()
        for table in ("elsewhere", "parties", "anchors", "calls"):
            await self._rpc("htable.flush", table)
        await self._forget("cluster", "term")
        await self._rpc("htable.sets", "cluster", "boot", boot)
        self._boot, self._term = boot, ""
        if not self._holds():
            await self._note_absence()
        self._counted, self._spoken, self._anchored, self._seen = {}, {}, {}, NOTHING

    async def _gained(self) -> None:
        term = f"{time.time_ns() // 1_000_000:x}"
        self._came = trio.current_time()
        # A call may be coming in already: the term first, then what counts elsewhere.
        await self._rpc("htable.setxs", "cluster", "recent", str(int(time.time())), RECENT)
        await self._rpc("htable.setxs", "cluster", "term", term, LASTS)
        self._term = term
        await self._tell()
        log.info("the VIP is here; %d calls are taken up that ring", len(self._ringing()))
        await self._restore()
        await self._taken()

    def _ringing(self) -> list[Call]:
        """Calls that rang at another Call Manager and are not taken up yet."""
        own = self._settings.server, self._term
        return takeover.to_restore(self._calls.view.going_on(), own, time.time())

    async def _restore(self) -> None:
        """Hand the calls that are to be taken up to Kamailio, once more if it may have declined."""
        found = self._ringing()
        now = trio.current_time()
        # The last that the former holder has told may still be on its way.
        self._next_try = now + AGAIN if found or now < self._came + RECENT else float("inf")
        if not found:
            return
        s = self._settings
        family = socket.AF_INET6 if ":" in s.vip else socket.AF_INET
        with trio.socket.socket(family, socket.SOCK_DGRAM) as own:
            await own.bind((s.address if (":" in s.address) == (":" in s.vip) else "", 0))
            for number, call in enumerate(found, 1):
                message = takeover.restoration(self._key, call)
                if message is None:
                    continue
                try:
                    await own.sendto(message, (s.vip, s.sip_port))
                except OSError as error:
                    log.warning("a call that rings is not taken up: %s", error)
                if number % BURST == 0:
                    await trio.sleep(PACE)

    async def _lost(self) -> None:
        leftovers = takeover.left(self._calls.view.up.values(), self._settings.server, self._term)
        log.info("the VIP is gone; %d calls go on elsewhere", len(leftovers))
        await self._note_absence()
        self._term = ""
        self._next_try = float("inf")
        await self._forget("cluster", "term")
        await self._rpc("htable.flush", "calls")
        await self._tell()
        for call_id in leftovers:
            if self._holds():
                return
            try:
                await self._drop(call_id)
            except RpcError as error:
                log.debug("the dialog of %s is not dropped: %s", call_id, error)

    async def _tell(self) -> None:
        """Bring Kamailio's tables up to date with the calls that are known."""
        own = (self._settings.server, self._term) if self._term else None
        at_first = own is not None and trio.current_time() < self._came + AT_FIRST
        seen = (self._calls.view.changes, self._term, at_first)
        if seen == self._seen:
            return
        calls = self._calls.view.going_on()
        taken_up = {call.started.call for call in self._ringing()} if at_first else ()
        counted = takeover.counted_elsewhere(calls, own, taken_up)
        numbers = {key: str(count) for key, count in counted.items()}
        spoken = takeover.parties(calls, own)
        done = [
            await self._make("elsewhere", self._counted, numbers),
            await self._make("parties", self._spoken, spoken),
            await self._make("anchors", self._anchored, takeover.anchors(calls)),
        ]
        if all(done):
            self._seen = seen

    async def _make(self, table: str, there: dict[str, str], wanted: Mapping[str, str]) -> bool:
        """Go on making a hash table hold what is wanted; whether that is done."""
        changes = [key for key in wanted if there.get(key) != wanted[key]]
        changes += [key for key in there if key not in wanted]
        for key in changes[:AT_ONCE]:
            # What is not confirmed may have been done, or be done later.
            there[key] = "?"
            if key in wanted:
                await self._rpc("htable.sets", table, key, wanted[key])
                there[key] = wanted[key]
            else:
                await self._forget(table, key)
                del there[key]
        return len(changes) <= AT_ONCE

    async def _note_absence(self) -> None:
        """Have routing know that connections from before may have been given up since."""
        await self._rpc("htable.sets", "cluster", "away", f"{time.time():.0f}")

    async def _forget(self, table: str, key: str) -> None:
        try:
            await self._rpc("htable.delete", table, key)
        except RpcError as error:
            # It may have expired.
            if error.code != NOT_THERE:
                raise

    async def _drop(self, call_id: str) -> None:
        """Forget a dialog without a word to anybody."""
        answer: Any = await self._rpc("dlg.dlg_list", call_id)
        rows = answer if isinstance(answer, list) else [answer] if answer else []
        for row in rows:
            tags = str(row["caller"]["tag"]), str(row["callee"]["tag"])
            await self._rpc("dlg.set_state", call_id, *tags, control.OVER)


def vip_is_here(vip: str) -> Callable[[], bool]:
    """Whether an address is on one of this host's interfaces, as the kernel says each time.

    It lets a socket have another one (``ip_nonlocal_bind``), but sends nothing from there.
    """
    family = socket.AF_INET6 if ":" in vip else socket.AF_INET

    def asked() -> bool:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((vip, 0))
                probe.connect((vip, 9))
            except OSError:
                return False
            return True

    return asked

"""Calls that go from one IVR server to another: taken up here, or left to others."""

from __future__ import annotations

import logging
import math

import trio

from services.core.audio import CapacityError
from services.core.sip import MalformedError, SipError
from services.core.sip.errors import is_only
from services.core.succession.succession import Succession
from services.ivr import snapshot
from services.ivr.ears import Ears
from services.ivr.menu import Machine
from services.ivr.server import Server
from services.ivr.session import MOVED, Session
from services.ivr.status import State

log = logging.getLogger(__name__)

LEAVING = 3.0
"""Seconds for calls that were handed over to be over here, and for what they record to be kept."""
ROUND = 0.02
AT_A_ROUND = 20
"""Calls that are begun in each `ROUND` seconds, at most: the Call Manager needs some time, too."""


class Continuity:
    """`run` has to run. ``succession`` is None where there are no other servers."""

    def __init__(self, server: Server, state: State, succession: Succession | None) -> None:
        self._server = server
        self._state = state
        self._succession = succession
        self._handing = False
        self._tell, self._calls = trio.open_memory_channel[tuple[str, bytes]](math.inf)

    def adopt(self, call_id: str, value: bytes) -> None:
        """Go on with a call as its server wrote it down; returns at once."""
        self._tell.send_nowait((call_id, value))

    def drop(self) -> None:
        """Others have the calls: forget them all, without a word to anybody. It does not wait."""
        while True:
            try:
                self._calls.receive_nowait()
            except trio.WouldBlock:
                break
        for session in list(self._server.sessions):
            session.leave(gently=self._handing)

    async def hand_over(self) -> int:
        """Leave all calls to other servers; how many. 0, and they stay, where there is none."""
        server, count = self._server, len(self._server.sessions)
        if self._succession is None or not count:
            return 0
        self._state.left = self._handing = True
        for session in server.sessions:
            session.save()
        try:
            if not await self._succession.hand_over():
                self._state.left = False
                log.warning("no other server can go on with %d calls", count)
                return 0
        finally:
            self._handing = False
        with trio.move_on_after(LEAVING):
            while server.sessions:  # noqa: ASYNC110 - seldom, and soon over
                await trio.sleep(0.02)
            await server.tapes.written()
        log.info("%d calls are left to other servers", count)
        return count

    async def run(self) -> None:
        """Go on with calls of others, for ever."""
        async with trio.open_nursery() as nursery:
            begun = 0
            async for call_id, value in self._calls:
                nursery.start_soon(self._one, call_id, value)
                begun += 1
                if begun % AT_A_ROUND == 0:
                    await trio.sleep(ROUND)

    async def _one(self, call_id: str, value: bytes) -> None:
        self._state.adopted += 1
        self._state.adopted_at = trio.current_time()
        self._state.calls += 1
        try:
            await self._go_on(call_id, value)
        except Exception as error:  # a fault in one call may not end the others
            if is_only(error, SipError):
                log.info("call %s: %s", call_id, error)
            else:
                log.exception("call %s", call_id)
        finally:
            self._state.calls -= 1

    async def _go_on(self, call_id: str, value: bytes) -> None:
        server = self._server
        try:
            found = snapshot.load(value)
            adopted = server.agent.adopt(found.caller)
        except (ValueError, MalformedError) as error:
            log.warning("call %s is ended, for nobody can go on with it: %s", call_id, error)
            await server.managers.end(call_id, MOVED)
            if server.journal is not None:
                server.journal.erase(call_id)
            return
        async with adopted as call:
            try:
                with server.plane.leg() as leg:
                    machine = Machine(server.book(found.ticket.tenant), found.state)
                    session = Session(server, machine, Ears(leg, call), found.ticket, found.heard)
                    await session.resume(found)
            except CapacityError:
                log.warning("call %s is ended: no audio is left for it", call_id)
                if server.journal is not None:
                    server.journal.erase(call_id)

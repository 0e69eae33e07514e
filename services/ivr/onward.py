"""Connecting a caller with somebody: ringing, ringback meanwhile, and the two calls bridged."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable

import msgspec
import trio

from services.core import passport
from services.core.audio import tones
from services.core.passport import Passport
from services.core.sip import Call, CallRefusedError, SipError, bridge, sdp
from services.ivr import call as it
from services.ivr.ears import Ears
from services.ivr.server import Server

log = logging.getLogger(__name__)


class Onward:
    """One call's. ``tell`` takes what has happened, ``save`` writes it down."""

    def __init__(
        self,
        server: Server,
        ears: Ears,
        ticket: Passport,
        tell: Callable[[it.Event], None],
        save: Callable[[], None],
    ) -> None:
        self._server = server
        self._ears = ears
        self._call = ears.call
        self._ticket = ticket
        self._tell = tell
        self._save = save
        self.dialling = ""
        """The Call-ID of the call that rings."""
        self.callee: Call | None = None
        """The call of who has answered."""

    async def connect(self, command: it.Connect, language: str) -> None:
        """Ring somebody, the caller hearing that it rings; then connect the two."""
        tone = self._server.plane.tone("ringback", tones.country(language))
        waiting = self._ears.leg.play(tone, loop=True)
        agent, ticket = self._server.agent, self._ticket
        call_id = f"{secrets.token_hex(12)}@{agent.address}"
        code = 480
        # A group rings step by step, each as long as it says; its own time is the Call Manager's.
        limit = command.ring if command.to.kind in ("extension", "number") else 180
        # What the caller can hear is what is offered: the two need no further word about it.
        offer = self._call.remote_sdp
        self._now(dialling=call_id)
        try:
            with trio.move_on_after(limit) as patience:
                async with agent.dial(
                    f"sip:{command.to.target}@{self._server.domain}",
                    offer,
                    caller=f"<sip:{ticket.caller or 'anonymous'}@{self._server.domain}>",
                    call_id=call_id,
                    headers=[(passport.HEADER, self._passport(command, call_id))],
                    cancel_on_end=False,
                ) as callee:
                    patience.deadline = math.inf
                    waiting.stop()
                    self._ears.be_still(still=True)
                    self._now(callee=callee)
                    await self._join(offer, callee)
                    await self._talk(callee, command.serial)
                    return
        except CallRefusedError as error:
            code = error.status
        except SipError as error:
            log.info("call %s was not connected: %s", self._call.call_id, error)
        finally:
            waiting.stop()
            self._now()
        self._ears.be_still(still=False)
        self._tell(it.Refused(command.serial, code))

    async def resume(self, exported: bytes, serial: int | None) -> None:
        """Go on with two calls that another server has connected, or was about to.

        Each is told that we are here, and hears what it heard. ``serial`` is that of the command
        that the machine still waits for.
        """
        try:
            async with self._server.agent.adopt(exported, cancel_on_end=False) as callee:
                self._now(callee=callee)
                answer = await self._call.reinvite(callee.remote_sdp)
                await callee.reinvite(answer)
                await self._talk(callee, serial)
                return
        except SipError as error:
            log.info("call %s lost whom it was connected with: %s", self._call.call_id, error)
        finally:
            self._now()
        self._tell(it.Ended("callee"))

    def release(self) -> None:
        """Leave the callee to another server."""
        if self.callee is not None:
            self.callee.release()

    async def _talk(self, callee: Call, serial: int | None) -> None:
        if serial is not None:
            self._tell(it.Joined(serial))
        ended = await bridge(self._call, callee, connected=True)
        self._tell(it.Ended(ended.reason or "callee"))

    def _now(self, *, dialling: str = "", callee: Call | None = None) -> None:
        saves = self._server.saves
        if self.callee is not None:
            saves.pop(self.callee.call_id, None)
        if callee is not None:
            saves[callee.call_id] = self._save
        self.dialling, self.callee = dialling, callee
        self._save()

    def _passport(self, command: it.Connect, call_id: str) -> str:
        onward = msgspec.structs.replace(
            self._ticket,
            kind=command.to.kind,
            target=command.to.target,
            own=command.own,
            within=self._call.call_id,
        )
        return passport.seal(self._server.key, "onward", call_id, onward, time.time())

    async def _join(self, offer: str, callee: Call) -> None:
        """Let the caller's media go to the callee's, by re-INVITE (RFC 3725 section 7).

        Raises SipError where the caller does not take them.
        """
        answer = await self._call.reinvite(callee.remote_sdp)
        there, before = sdp.audio(answer), sdp.audio(offer)
        if there is None or before is None or there[:2] != before[:2]:
            await callee.reinvite(answer)

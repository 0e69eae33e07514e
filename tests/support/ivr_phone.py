"""A phone that calls IVR servers directly, as a Call Manager would, and keeps what it hears."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from pbxctl.probe import audio
from services.core import passport
from services.core.audio import AudioPlane, Leg
from services.core.passport import Passport
from services.core.sip import Call, Invitation, UserAgent, sdp
from services.ivr.ears import CODECS, Ears

RATE = 8000
CALLEE = "2002"


def invited(key: bytes, call_id: str, menu: str = "main") -> tuple[str, str]:
    """The header with which a Call Manager sends a call to one of acme's menus."""
    ticket = Passport(tenant="acme", kind="menu", target=menu, caller="+4930555")
    return passport.HEADER, passport.seal(key, "serve", call_id, ticket, time.time())


class IvrPhone:
    """One call's side of a phone; the sound that it hears is in ``heard`` when the call is over."""

    def __init__(self, agent: UserAgent, plane: AudioPlane, heard: Path) -> None:
        self.agent = agent
        self.plane = plane
        self.heard = heard
        self.call: Call
        self.leg: Leg
        self.answered = trio.Event()
        self.over = trio.Event()
        self._scope = trio.CancelScope()

    async def dial(self, address: str, key: bytes, menu: str = "main") -> None:
        """Call a menu of the server at ``address``, and listen until the call ends."""
        with self.plane.leg() as self.leg:
            offer = sdp.offer(self.leg.address, self.leg.port, CODECS)
            call_id = f"{secrets.token_hex(8)}@{self.agent.address}"
            headers = [invited(key, call_id, menu)]
            at = f"sip:{menu}@{address}:5070"
            async with self.agent.dial(at, offer, call_id=call_id, headers=headers) as self.call:
                ears = Ears(self.leg, self.call)
                agreed = sdp.agreed(offer, self.call.remote_sdp)
                assert agreed is not None
                ears.connect(agreed)
                await self._listen(ears)

    async def answer(self, invitation: Invitation) -> None:
        """Take a call, and listen until it ends."""
        with self.plane.leg() as self.leg:
            assert invitation.offer is not None
            text, agreed = sdp.answer(invitation.offer, self.leg.address, self.leg.port, CODECS)
            async with invitation.accept(text) as self.call:
                ears = Ears(self.leg, self.call)
                ears.connect(agreed)
                await self._listen(ears)

    async def _listen(self, ears: Ears) -> None:
        self.call.answers = ears.answer
        recording = self.leg.record(self.heard)
        self.answered.set()
        try:
            with self._scope:
                await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                recording.stop()
                await recording
            self.over.set()

    def stop(self) -> None:
        """The call is over, as far as this side is concerned."""
        self._scope.cancel()

    def say(self, voice: int, seconds: float = 60.0) -> None:
        """Speak with one of the probe's voices."""
        sound = (audio.speak(voice, RATE, seconds=seconds) * 32767).astype("int16")
        self.leg.play(self.plane.clip(sound))

    def sound(self) -> audio.Samples:
        """What was heard, once the call is over."""
        (samples, *_), _ = audio.read_wav(self.heard)
        return samples


@asynccontextmanager
async def ivr_phone(address: str, directory: Path) -> AsyncGenerator[IvrPhone]:
    """A phone at ``address``."""
    async with (
        AudioPlane(address, ports=(18000, 18007), capacity=5) as plane,
        UserAgent(address, 5060, name="phone") as agent,
    ):
        yield IvrPhone(agent, plane, directory / f"{address}.wav")

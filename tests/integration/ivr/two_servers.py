"""IVR servers of a test's own with a real Redis between them, and phones that call them directly.

Here a test can look at a call at any moment; what is missing is Kamailio, and who finds out that a
server is gone: `tests/cluster` has both.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import trio

from pbxctl.probe import audio
from services.core import passport
from services.core.audio import AudioPlane, Leg
from services.core.discovery import Instance
from services.core.menus import Menu, Prompt, Sound
from services.core.passport import Passport
from services.core.sip import Call, Invitation, UserAgent, sdp
from services.ivr.adoption import Adoption
from services.ivr.answering import Answering
from services.ivr.boxes import Boxes
from services.ivr.call import Book
from services.ivr.cluster import CallManagers
from services.ivr.ears import CODECS, Ears
from services.ivr.keylog import KeyLog
from services.ivr.library import Library
from services.ivr.server import Server
from services.ivr.status import State as Status
from services.ivr.tapes import Tapes

RATE = 8000
CALLEE = "2002"


class Journal(dict[str, bytes]):
    """Live state of the calls."""

    def write(self, call: str, value: bytes) -> None:
        self[call] = value

    def erase(self, call: str) -> None:
        self.pop(call, None)


class Cluster:
    """Two IVR servers, and a caller. ``pressed`` are the keys that the media server has seen."""

    def __init__(self, network: str, directory: Path, redis_at: tuple[str, int]) -> None:
        self.network = network
        self.directory = directory
        self.redis = redis_at
        self.journal = Journal()
        self.pressed: list[tuple[str, float]] = []
        self.sounds: dict[str, bytes] = {}
        self.books: dict[str, Book] = {}

    def voice(self, voice: int, seconds: float) -> Prompt:
        """A prompt that is so many seconds of a voice."""
        path = self.directory / f"voice-{voice}.wav"
        audio.write_wav(path, audio.speak(voice, RATE, seconds=seconds), RATE)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.sounds[digest] = path.read_bytes()
        return {"en": Sound(digest=digest)}

    def menus(self, *menus: Menu) -> None:
        self.books["acme"] = Book(tenant="acme", menus={menu.name: menu for menu in menus})

    def _digits(self, request: httpx.Request) -> httpx.Response:
        asked = request.read().decode()
        return httpx.Response(200, json={c: self.pressed for c in self.journal if c in asked})

    @asynccontextmanager
    async def server(self, host: int) -> AsyncGenerator[tuple[Server, Adoption]]:
        """IVR server at ``host``; calls go to the menu that they name."""
        address = f"{self.network}.{host}"
        own = self.directory / f"app{host}"
        async with (
            AudioPlane(address, ports=(18000, 18007), capacity=20) as plane,
            httpx.AsyncClient(transport=httpx.MockTransport(self._digits)) as http,
            UserAgent(address, 5070, name=f"app{host}") as agent,
            trio.open_nursery() as nursery,
        ):
            meta = {"admin": "http://media1"}
            media = Instance(id="media1", name="media", node="a", address=address, meta=meta)
            managers = CallManagers(http, lambda: ())
            boxes = Boxes(own / "voicemail", http, lambda: ())
            keylog = KeyLog(http, lambda: (media,))
            tapes = Tapes("test", self.redis)

            async def fetch(digest: str) -> bytes:
                return self.sounds[digest]

            server = Server(
                agent=agent,
                library=Library(own / "sounds", plane, fetch),
                managers=managers,
                keylog=keylog,
                web=http,
                key=bytes(32),
                domain=self.network + ".9",
                book=lambda tenant: self.books[tenant],
                plane=plane,
                boxes=boxes,
                tapes=tapes,
                journal=self.journal,
            )
            agent.on_change = server.changed
            status = Status(capacity=20)
            adoption = Adoption(server, status)
            for work in (boxes.run, keylog.run, tapes.run, adoption.run):
                nursery.start_soon(work)
            nursery.start_soon(agent.serve, Answering(server, status).answer)
            yield server, adoption
            nursery.cancel_scope.cancel()


class Caller:
    """A phone, and what it has heard."""

    def __init__(self, agent: UserAgent, plane: AudioPlane, directory: Path) -> None:
        self.agent = agent
        self.plane = plane
        self.heard = directory / f"{agent.name}.wav"
        self.call: Call
        self.leg: Leg
        self.answered = trio.Event()

    async def dial(self, server: Server) -> None:
        """Call the menu, speak and listen until the call ends."""
        with self.plane.leg() as self.leg:
            offer = sdp.offer(self.leg.address, self.leg.port, CODECS)
            at = f"sip:main@{server.agent.address}:{server.agent.port}"
            call_id = f"{secrets.token_hex(8)}@{self.agent.address}"
            ticket = Passport(tenant="acme", kind="menu", target="main", caller="+4930555")
            value = passport.seal(server.key, "serve", call_id, ticket, time.time())
            headers = [(passport.HEADER, value)]
            dialling = self.agent.dial(at, offer, call_id=call_id, headers=headers)
            async with dialling as self.call:
                ears = Ears(self.leg, self.call)
                agreed = sdp.agreed(offer, self.call.remote_sdp)
                assert agreed is not None
                ears.connect(agreed)
                await self._talk(ears)

    async def answer(self, invitation: Invitation) -> None:
        """Take a call, speak and listen until it ends."""
        with self.plane.leg() as self.leg:
            assert invitation.offer is not None
            text, agreed = sdp.answer(invitation.offer, self.leg.address, self.leg.port, CODECS)
            async with invitation.accept(text) as self.call:
                ears = Ears(self.leg, self.call)
                ears.connect(agreed)
                await self._talk(ears)

    async def _talk(self, ears: Ears) -> None:
        self.call.answers = ears.answer
        recording = self.leg.record(self.heard)
        self.answered.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                recording.stop()
                await recording

    def say(self, voice: int, seconds: float = 60.0) -> None:
        """Speak with one of the probe's voices."""
        sound = (audio.speak(voice, RATE, seconds=seconds) * 32767).astype("int16")
        self.leg.play(self.plane.clip(sound))

    def sound(self) -> audio.Samples:
        """What was heard, once the call is over."""
        (samples, *_), _ = audio.read_wav(self.heard)
        return samples


@asynccontextmanager
async def caller(network: str, host: int, directory: Path) -> AsyncGenerator[Caller]:
    """A phone at ``host``."""
    address = f"{network}.{host}"
    async with (
        AudioPlane(address, ports=(18000, 18007), capacity=5) as plane,
        UserAgent(address, 5060, name=f"phone{host}") as agent,
    ):
        yield Caller(agent, plane, directory)

"""IVR servers of a test's own with a real Redis between them, called directly.

Here a test can look at a call at any moment; what is missing is Kamailio, and who finds out that a
server is gone: `tests/cluster` has both.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from pbxctl.probe import audio
from services.core.audio import AudioPlane
from services.core.discovery import Instance
from services.core.menus import Menu, Prompt, Sound
from services.core.sip import UserAgent
from services.ivr.answering import Answering
from services.ivr.boxes import Boxes
from services.ivr.call import Book
from services.ivr.cluster import CallManagers
from services.ivr.continuity import Continuity
from services.ivr.keylog import KeyLog
from services.ivr.library import Library
from services.ivr.server import Server
from services.ivr.status import State as Status
from services.ivr.tapes import Tapes
from services.ivr.ways import Ways
from services.ivr.web import open_web
from tests.support.ivr_phone import RATE
from tests.support.redis import PORT

KEY = bytes(32)


async def no_secrets(name: str) -> str:
    """Raises LookupError: here no web service knows anybody."""
    raise LookupError(name)


class Journal(dict[str, bytes]):
    """Live state of the calls."""

    def write(self, call: str, record: bytes) -> None:
        self[call] = record

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
    async def server(self, host: int) -> AsyncGenerator[tuple[Server, Continuity]]:
        """IVR server at ``host``; calls go to the menu that they name."""
        address = f"{self.network}.{host}"
        own = self.directory / f"app{host}"
        async with (
            AudioPlane(address, ports=(18000, 18007), capacity=20) as plane,
            httpx.AsyncClient(transport=httpx.MockTransport(self._digits)) as http,
            open_web(no_secrets) as web,
            UserAgent(address, 5070, name=f"app{host}") as agent,
            trio.open_nursery() as nursery,
        ):
            meta = {"admin": "http://media1"}
            media = Instance(id="media1", name="media", node="a", address=address, meta=meta)
            managers = CallManagers(http, lambda: (), KEY)
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
                web=web,
                key=KEY,
                domain=self.network + ".9",
                book=lambda tenant: self.books[tenant],
                plane=plane,
                boxes=boxes,
                tapes=tapes,
                ways=Ways(http, lambda: ()),
                journal=self.journal,
            )
            agent.on_change = server.changed
            status = Status(capacity=20)
            continuity = Continuity(server, status, None)
            for work in (boxes.run, keylog.run, tapes.run, continuity.run):
                nursery.start_soon(work)
            nursery.start_soon(agent.serve, Answering(server, status).answer)
            yield server, continuity
            nursery.cancel_scope.cancel()


@pytest.fixture
def cluster(redis: tuple[str, int], tmp_path: Path) -> Cluster:
    """For modules that import `tests.support.redis.redis`, too."""
    address, _ = redis
    return Cluster(address.rpartition(".")[0], tmp_path, (address, PORT))


def gone(server: Server) -> None:
    """The server says and sends nothing any more."""
    for session in list(server.sessions):
        session.leave(gently=False)


def adopt(cluster: Cluster, continuity: Continuity) -> None:
    """Have a server take over every call, which takes a moment."""
    for call, value in list(cluster.journal.items()):
        continuity.adopt(call, value)

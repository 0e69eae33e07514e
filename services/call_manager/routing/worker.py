"""What one of Kamailio's processes holds while it lives: settings, tables, key, event file."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

import msgspec

from services.call_manager.routing.subscription import Ask
from services.call_manager.settings import CallManagerSettings
from services.call_manager.tables import TablesReader
from services.core.events import Event, EventWriter
from services.core.settings import from_environment

SLOTS = 1024

settings = from_environment(CallManagerSettings)
tables = TablesReader(settings.tables_dir)
key = settings.cluster_key()
_SEVERAL = bool(settings.peers)

now = time.time


class _Line:
    """Datagrams to the agent. One that does not run, or has enough to do, is told nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def send(self, data: bytes) -> None:
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
                self._socket.connect(str(self._path))
            self._socket.send(data)
        except BlockingIOError:
            return
        except OSError:
            # It makes the socket anew when it runs again.
            self._socket = None


class _Events:
    """This process's event writer, made at its first event.

    A writer's name must belong to one living process and come again after a restart. Kamailio's
    ranks do neither for timers, so the name is a slot held by a lock that dies with the process.
    """

    def __init__(self) -> None:
        self._pid = 0
        self._lock = -1
        self._agent = _Line(settings.events_socket)

    def append(self, event: Event) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._writer = EventWriter(settings.spool_dir, self._slot())
        self._writer.append(event)
        if _SEVERAL:
            # What others do not know when this host dies, is lost to them: it is to look now.
            self._agent.send(b"!")

    def _slot(self) -> str:
        locks = settings.spool_dir / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        for number in range(SLOTS):
            lock = os.open(locks / f"{number:03d}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            self._lock = lock
            return f"worker-{number:03d}"
        return f"worker-{os.getpid()}"


class _Asks:
    """To the agent: what phones want to know of voicemail boxes."""

    def __init__(self) -> None:
        self._agent = _Line(settings.asks_socket)
        self._encode = msgspec.json.Encoder().encode

    def tell(self, ask: Ask) -> None:
        self._agent.send(self._encode(ask))


events = _Events()
asks = _Asks()

"""What one of Kamailio's processes holds while it lives: settings, tables, key, event file."""

from __future__ import annotations

import fcntl
import os
import socket
import time

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


class _Events:
    """This process's event writer, made at its first event.

    A writer's name must belong to one living process and come again after a restart. Kamailio's
    ranks do neither for timers, so the name is a slot held by a lock that dies with the process.
    """

    def __init__(self) -> None:
        self._pid = 0
        self._lock = -1
        self._agent: socket.socket | None = None

    def append(self, event: Event) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._writer = EventWriter(settings.spool_dir, self._slot())
        self._writer.append(event)
        if _SEVERAL:
            self._wake()

    def _wake(self) -> None:
        """Have the agent look now: what others do not know when this host dies, is lost to them."""
        try:
            if self._agent is None:
                self._agent = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._agent.setblocking(False)
                self._agent.connect(str(settings.events_socket))
            self._agent.send(b"!")
        except BlockingIOError:
            # It has been told often enough.
            return
        except OSError:
            # It does not run; it looks by itself when it does. It makes the socket anew.
            self._agent = None

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


events = _Events()

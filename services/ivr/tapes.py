"""What callers say, in live state while it is being recorded, so that it outlives its server.

A tape is a string of Redis', ``pbx:<cluster>:ivr:tape:<name>``: samples of 16 bit, as they are in
the file. What this server has recorded is on its disk too; a tape is read by who goes on with the
call.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import coredis
import msgspec
import numpy as np
import trio

from services.core.audio import Recorded, Recording
from services.core.audio import sound as files
from services.core.redis import connection, reason
from services.ivr.boxes import WAV_HEAD, WAV_SECOND

log = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between looks at what a recording has more."""
EXPIRES = 4 * 3600
"""Seconds after which a tape that nobody has erased goes."""
FINDING = 1.0
"""Seconds for a tape to be found; then the call goes on without it."""
AGAIN = 0.5
MOST = 20_000
"""Orders that wait for Redis; then the oldest are given up."""


class _Order(NamedTuple):
    do: Literal["write", "erase", "find"]
    name: str
    offset: int = 0
    sound: bytes = b""
    found: trio.MemorySendChannel[bytes] | None = None


class Tapes:
    """`run` has to run, unless there is no ``address``: then nothing is kept or found.

    What is asked of Redis is done in order, and again after it was away; but for `find`, nobody
    waits for it.
    """

    def __init__(self, cluster: str, address: tuple[str, int] | None, password: str = "") -> None:
        self._prefix = f"pbx:{cluster}:ivr:tape:"
        self._address = address
        self._password = password
        self._orders: deque[_Order] = deque(maxlen=MOST)
        self._wake = trio.Event()
        self._empty = trio.Event()
        self._empty.set()

    def write(self, name: str, offset: int, sound: bytes) -> None:
        """What begins ``offset`` bytes after the tape's start is this."""
        self._order(_Order("write", name, offset, sound))

    def erase(self, name: str) -> None:
        """Nobody needs it any more."""
        self._order(_Order("erase", name))

    async def find(self, name: str) -> bytes:
        """What is on a tape; empty if there is none or it cannot be had in time."""
        if self._address is None:
            return b""
        tell, told = trio.open_memory_channel[bytes](1)
        self._order(_Order("find", name, found=tell))
        with trio.move_on_after(FINDING):
            return await told.receive()
        log.warning("what a caller has said until now cannot be had: live state does not answer")
        return b""

    async def written(self) -> None:
        """Wait until all that was asked for is done."""
        if self._address is not None:
            await self._empty.wait()

    def _order(self, order: _Order) -> None:
        if self._address is None:
            return
        self._orders.append(order)
        self._empty = trio.Event()
        self._wake.set()

    async def run(self) -> None:
        """Do what is asked for, for ever."""
        if self._address is None:
            return
        problem = ""
        while True:
            try:
                async with connection(self._address, self._password) as client:
                    problem = ""
                    await self._carry_out(client)
            except* Exception as group:  # noqa: BLE001 - whatever a client has to say, calls go on
                said = reason(group)
                if said != problem:
                    log.warning("recordings are not in live state: %s", said)
                problem = said
            await trio.sleep(AGAIN)

    async def _carry_out(self, client: coredis.Redis[bytes]) -> None:
        while True:
            while self._orders:
                order = self._orders[0]
                key = self._prefix + order.name
                if order.do == "write":
                    await client.setrange(key, order.offset, order.sound)
                    await client.expire(key, EXPIRES)
                elif order.do == "erase":
                    await client.delete([key])
                elif order.found is not None:
                    order.found.send_nowait(await client.get(key) or b"")
                if self._orders and self._orders[0] is order:
                    self._orders.popleft()
            self._empty.set()
            await self._wake.wait()
            self._wake = trio.Event()


def save(path: Path, sound: bytes) -> None:
    """Samples as a WAV file, as recordings are. Raises OSError."""
    files.write(path, np.frombuffer(sound[: len(sound) & ~1], "<i2"), WAV_SECOND // 2)


class Take:
    """A recording that has a tape called ``name``.

    ``before`` it comes what another server has recorded. ``await take`` gives `Recorded` when all
    of it is one file on disk.
    """

    def __init__(self, tapes: Tapes, name: str, recording: Recording, before: bytes) -> None:
        self.stop = recording.stop
        self._tapes = tapes
        self._name = name
        self._recording = recording
        self._before = before
        self._length = len(before)
        self._joined = False

    async def follow(self) -> None:
        """Keep the tape while the file grows, for ever."""
        while True:
            await trio.sleep(EVERY)
            self._copy()

    def __await__(self) -> Generator[Any, Any, Recorded]:
        return self._wait().__await__()

    async def _wait(self) -> Recorded:
        recorded = await self._recording
        if not self._joined:
            self._copy()
        if not self._before:
            return recorded
        try:
            if not self._joined:
                path = recorded.path
                after = path.read_bytes()[WAV_HEAD:] if path.exists() else b""
                save(path, self._before + after)
                self._joined = True
        except OSError as error:
            return msgspec.structs.replace(recorded, ended="failed", problem=str(error))
        return msgspec.structs.replace(
            recorded,
            seconds=recorded.seconds + len(self._before) / WAV_SECOND,
            # What there was before is as good as it was, even if nothing could be added.
            ended="stopped" if recorded.ended == "failed" else recorded.ended,
        )

    def _copy(self) -> None:
        """Put on the tape what the file has more."""
        sound = b""
        # While it grows the file has another name: see `Leg.record`.
        for path in (self._recording.path, Path(f"{self._recording.path}.part")):
            try:
                with path.open("rb") as file:
                    file.seek(WAV_HEAD + self._length - len(self._before))
                    sound = file.read()
                    break
            except OSError:
                continue
        if sound:
            self._tapes.write(self._name, self._length, sound)
            self._length += len(sound)

"""The sessions in Redis: how media servers tell each other of theirs.

==================================  ========================================================
``pbx:<cluster>:media:<home>``      hash: Call-ID → document, of all of the home's sessions
``pbx:<cluster>:media:complete``    hash: home → the server that wrote all of them there
``pbx:<cluster>:media:changes``     stream: ``home``, ``call``, ``by`` and ``document``, which is
                                    empty for a session that is over
==================================  ========================================================

Redis is how sessions travel; each media server has them all in its memory too. One that comes back
empty, or knows less than it did, is filled again by those who hold the addresses, and nobody takes
what it lacks for over until they have.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import coredis
import msgspec
import trio

from services.core.redis import TIMEOUT, connection, reason
from services.media.mirror.sessions import Action, Remove, Sessions, Store

log = logging.getLogger(__name__)

BLOCK = 1.0
"""Seconds that a read of the stream waits; silence twice as long means a dead connection."""
AGAIN = 0.3
RESYNC = 30.0
KEPT = 2000
"""Changes that the stream holds: what a reader may fall behind before it reads all anew."""
BATCH = 200


class Change(msgspec.Struct, frozen=True):
    """One entry of the stream; ``document`` is empty for a session that is over."""

    home: str
    call: str
    document: bytes


class Exchange:
    """Carries `Sessions` to Redis and back. `write` and `read` never return.

    ``taken`` gets what the others' changes ask of rtpengine.
    """

    def __init__(
        self,
        cluster: str,
        server: str,
        address: tuple[str, int],
        password: str,
        sessions: Sessions,
        taken: Callable[[Iterable[Action]], None],
    ) -> None:
        self._prefix = f"pbx:{cluster}:media:"
        self._server = server
        self._address = address
        self._password = password
        self._sessions = sessions
        self._taken = taken
        self._dirty: dict[tuple[str, str], None] = {}
        self._wake = trio.Event()
        self._all = True
        self.problem = "Redis has not been asked yet"
        self.current = trio.Event()
        """Set while what the others have written was read once."""

    def put(self, actions: Iterable[Store | Remove]) -> None:
        """Have these written, as soon as Redis takes it; of one session only what is last."""
        for action in actions:
            self._dirty[action.home, action.call] = None
        self._wake.set()

    def everything(self) -> None:
        """Have all sessions of the homes that are held written."""
        self._all = True
        self._wake.set()

    async def write(self) -> None:
        """Write what there is to write, for ever."""
        while True:
            try:
                async with self._client() as client:
                    self._all = True
                    await self._write_on(client)
            except* Exception as group:  # noqa: BLE001 - whatever a client has to say, calls go on
                self._failed(group)
            await trio.sleep(AGAIN)

    async def read(self) -> None:
        """Read what the others write, for ever."""
        while True:
            try:
                async with self._client() as client:
                    await self._read_on(client)
            except* Exception as group:  # noqa: BLE001 - whatever a client has to say, calls go on
                self._failed(group)
            await trio.sleep(AGAIN)

    def _client(self) -> coredis.Redis[bytes]:
        return connection(self._address, self._password)

    def _failed(self, error: BaseException) -> None:
        host, port = self._address
        problem = f"Redis at {host}:{port}: {reason(error)}"
        if problem != self.problem:
            log.warning("sessions are not mirrored: %s", problem)
        self.problem = problem

    def _key(self, name: str) -> str:
        return self._prefix + name

    # Writing.

    async def _write_on(self, client: coredis.Redis[bytes]) -> None:
        while True:
            if self._all:
                self._all = False
                for home in sorted(self._sessions.held):
                    await self._write_all(client, home)
                if self.problem:
                    log.info("sessions are mirrored")
                self.problem = ""
            await self._write_dirty(client)
            with trio.move_on_after(BLOCK):
                await self._wake.wait()
            self._wake = trio.Event()
            if not self._dirty and not self._all:
                # An idle connection does not say that its other end is gone.
                for home in sorted(self._sessions.held):
                    if await client.hget(self._key("complete"), home) is None:
                        self._all = True

    async def _write_all(self, client: coredis.Redis[bytes], home: str) -> None:
        there = await client.hkeys(self._key(home))
        ours = self._sessions.of(home)
        over = [key for key in there if _text(key) not in ours]
        for start in range(0, len(over), BATCH):
            await client.hdel(self._key(home), over[start : start + BATCH])
        calls = list(ours)
        for start in range(0, len(calls), BATCH):
            some = {_bytes(call): ours[call] for call in calls[start : start + BATCH]}
            await client.hset(self._key(home), some)
        await client.hset(self._key("complete"), {home: self._server})
        # The others read all of the home anew.
        await self._tell(client, home, "", b"")

    async def _write_dirty(self, client: coredis.Redis[bytes]) -> None:
        while self._dirty:
            home, call = next(iter(self._dirty))
            # First: what changes while this is written has to be written once more. If it cannot
            # be written, the next connection begins with all of them.
            del self._dirty[home, call]
            session = self._sessions.get(call)
            if home in self._sessions.held:
                document = session.document if session and session.home == home else b""
                if document:
                    await client.hset(self._key(home), {_bytes(call): document})
                else:
                    await client.hdel(self._key(home), [_bytes(call)])
                await self._tell(client, home, call, document)

    async def _tell(
        self, client: coredis.Redis[bytes], home: str, call: str, document: bytes
    ) -> None:
        values: Mapping[str | bytes, Any] = {
            "home": home,
            "call": _bytes(call),
            "by": self._server,
            "document": document,
        }
        await client.xadd(
            self._key("changes"),
            values,
            trim_strategy=coredis.PureToken.MAXLEN,
            trim_operator=coredis.PureToken.APPROXIMATELY,
            threshold=KEPT,
        )

    # Reading.

    async def _read_on(self, client: coredis.Redis[bytes]) -> None:
        stream = self._key("changes")
        while True:
            last = await client.xrevrange(stream, count=1)
            position: bytes | str = last[0].identifier if last else "0"
            for home in sorted(self._sessions.homes - self._sessions.held):
                await self._read_all(client, home)
            self.current.set()
            with trio.move_on_after(RESYNC):
                while True:
                    position = await self._read_some(client, stream, position)

    async def _read_some(
        self, client: coredis.Redis[bytes], stream: str, position: bytes | str
    ) -> bytes | str:
        with trio.fail_after(TIMEOUT):
            found = await client.xread({stream: position}, block=int(BLOCK * 1000), count=BATCH)
        anew: set[str] = set()
        for entries in (found or {}).values():
            for entry in entries:
                position = entry.identifier
                fields = {_text(k): v for k, v in entry.field_values.items()}
                if _text(fields["by"]) == self._server:
                    continue
                home, call = _text(fields["home"]), _text(fields["call"])
                if not call:
                    anew.add(home)
                elif fields["document"]:
                    self._taken(self._sessions.learned(home, call, _raw(fields["document"])))
                else:
                    self._taken(self._sessions.forgotten(home, call))
        for home in anew - self._sessions.held:
            await self._read_all(client, home)
        return position

    async def _read_all(self, client: coredis.Redis[bytes], home: str) -> None:
        complete = await client.hget(self._key("complete"), home)
        found = await client.hgetall(self._key(home))
        documents = {_text(call): _raw(document) for call, document in found.items()}
        for call, document in documents.items():
            self._taken(self._sessions.learned(home, call, document))
        if complete is not None:
            self._taken(self._sessions.only(home, documents))


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _raw(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")

"""What rtpengine takes for its Redis: the agent beside it, on the loopback address.

rtpengine waits for its Redis in the middle of calls, and 10.5 never writes again what a Redis has
lost, nor asks for what it missed. So the one it talks to is always there, and always answers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable

import trio

from services.media.mirror import resp
from services.media.mirror.sessions import OTHERS, Action, Notify, Sessions

log = logging.getLogger(__name__)

INFO = b"# Replication\r\nrole:master\r\n"
_KEYSPACE = re.compile(rb"__keyspace@(\d+)__:\*")


class Relay:
    """Serves `Sessions` as Redis would. ``act`` gets what rtpengine's writes ask for;
    ``subscribed`` is called when it begins to follow the others' sessions."""

    def __init__(
        self,
        sessions: Sessions,
        act: Callable[[Iterable[Action]], None],
        subscribed: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._act = act
        self._subscribed = subscribed
        self._subscribers: set[_Connection] = set()

    @property
    def followed(self) -> bool:
        """Whether rtpengine follows the others' sessions now."""
        return bool(self._subscribers)

    async def serve(
        self,
        port: int,
        *,
        task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve on the loopback address, for ever. Raises OSError."""
        await trio.serve_tcp(self._connection, port, host="127.0.0.1", task_status=task_status)

    def notify(self, notification: Notify) -> None:
        """Tell rtpengine of a change, as Redis' keyspace notifications do."""
        key = b"__keyspace@%d__:%s" % (OTHERS, notification.call.encode())
        pattern = b"__keyspace@%d__:*" % OTHERS
        for subscriber in self._subscribers:
            subscriber.push([b"pmessage", pattern, key, notification.event.encode()])

    async def _connection(self, stream: trio.SocketStream) -> None:
        connection = _Connection(stream)
        requests = resp.Requests()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.write_forever)
                async for data in stream:
                    for request in requests.feed(bytes(data)):
                        connection.out(self._answer(connection, request))
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, resp.ProtocolError) as group:
            log.debug("rtpengine's connection ended: %s", group.exceptions[0])
        finally:
            self._subscribers.discard(connection)

    def _answer(self, connection: _Connection, request: list[bytes]) -> bytes:
        name, words = request[0].upper() if request else b"", request[1:]
        try:
            return self._known(connection, name, words)
        except (IndexError, ValueError) as error:
            return resp.encode_error(f"{name.decode(errors='replace')}: {error}")

    def _known(self, connection: _Connection, name: bytes, words: list[bytes]) -> bytes:
        sessions = self._sessions
        match name:
            case b"GET":
                return resp.encode(sessions.read(_text(words[0]), connection.database))
            case b"SET":
                self._act(sessions.written(_text(words[0]), words[1]))
            case b"DEL":
                for word in words:
                    self._act(sessions.deleted(_text(word), connection.database))
                return resp.encode(len(words))
            case b"KEYS":
                keys = sessions.keys(connection.database)
                return resp.encode([key.encode("utf-8", "surrogateescape") for key in keys])
            case b"SELECT":
                connection.database = int(words[0])
            case b"EXPIRE":
                return resp.encode(1)  # sessions end when rtpengine says so
            case b"INFO":
                return resp.encode(INFO)
            case b"TYPE":
                return resp.encode("none")
            case b"PING":
                return resp.encode("PONG")
            case b"AUTH" | b"QUIT":
                pass
            case b"PSUBSCRIBE":
                return self._subscribe(connection, words[0])
            case b"PUNSUBSCRIBE":
                self._subscribers.discard(connection)
                return resp.encode([b"punsubscribe", None, 0])
            case _:
                return resp.encode_error(f"unknown command {name.decode(errors='replace')}")
        return resp.encode("OK")

    def _subscribe(self, connection: _Connection, pattern: bytes) -> bytes:
        found = _KEYSPACE.fullmatch(pattern)
        if found is None or int(found[1]) != OTHERS:
            return resp.encode_error(f"nothing is told of {pattern.decode(errors='replace')}")
        self._subscribers.add(connection)
        self._subscribed()
        return resp.encode([b"psubscribe", pattern, 1])


class _Connection:
    """One of rtpengine's connections, and what it has yet to read."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._pending = bytearray()
        self._wake = trio.Event()
        self.database = 0

    def out(self, data: bytes) -> None:
        self._pending += data
        self._wake.set()

    def push(self, message: list[resp.Reply]) -> None:
        self.out(resp.encode(message))

    async def write_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            data, self._pending = self._pending, bytearray()
            await self._stream.send_all(data)


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")

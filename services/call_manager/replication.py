"""What the Call Managers' agents tell each other of calls, as a stream over the admin API.

Each follows each of the others. A connection begins with a picture: what is up, and what has ended
lately, whoever saw it; then come the events of that one's own Kamailio as they are written. After a
gap there is a new picture, so that nothing has to be remembered for who was away; what ended before
it is in the store (`CallLog`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

import httpx
import msgspec
import trio

from services.core.events import Event
from services.core.settings import Peer

log = logging.getLogger(__name__)

PATH = "/v1/replication"
BEAT = 1.0
"""Seconds after which a stream says that it lives."""
SILENCE = 4.0
GAP = 2.5
"""Seconds of silence after which something that Kamailio told may have been lost, too."""
AGAIN = 0.5
WAITING = 10_000
"""Batches that a slow reader may be behind; then it is cut and begins anew."""


class Current(msgspec.Struct, frozen=True, tag_field="kind", tag="current"):
    """The picture is complete; what follows is new."""


class Beat(msgspec.Struct, frozen=True, tag_field="kind", tag="beat"):
    """Nothing new."""


Line = Event | Current | Beat
_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


class Journal:
    """Gives own events to whoever reads; `picture` says what was before."""

    def __init__(self, picture: Callable[[], Iterable[Event]]) -> None:
        self._picture = picture
        self._readers: set[trio.MemorySendChannel[bytes]] = set()

    def tell(self, events: Sequence[Event]) -> None:
        """New events of our own."""
        if not self._readers or not events:
            return
        lines = b"".join(_encode(event) + b"\n" for event in events)
        for reader in list(self._readers):
            try:
                reader.send_nowait(lines)
            except (trio.WouldBlock, trio.BrokenResourceError):
                self._readers.discard(reader)
                reader.close()

    async def read(self) -> AsyncGenerator[bytes]:
        """The stream, for ever; it ends for a reader that is too slow."""
        send, receive = trio.open_memory_channel[bytes](WAITING)
        # Both in one step: what comes after the picture is in the channel.
        lines = [_encode(event) + b"\n" for event in self._picture()]
        self._readers.add(send)
        try:
            for start in range(0, len(lines), 500):
                yield b"".join(lines[start : start + 500])
            yield _encode(Current()) + b"\n"
            while True:
                lines_now = _encode(Beat()) + b"\n"
                try:
                    with trio.move_on_after(BEAT):
                        lines_now = await receive.receive()
                except trio.EndOfChannel:
                    return
                yield lines_now
        finally:
            self._readers.discard(send)
            send.close()


class Following:
    """Follows one other Call Manager. ``current`` is whether its picture is here and up to date;
    ``first`` is set when that was so for the first time. ``gap`` is called when it is heard again
    after a silence.
    """

    def __init__(
        self,
        peer: Peer,
        port: int,
        token: str,
        take: Callable[[list[Event]], None],
        gap: Callable[[Peer], None],
    ) -> None:
        host = f"[{peer.address}]" if ":" in peer.address else peer.address
        self.peer = peer
        self.current = False
        self.first = trio.Event()
        self._url = f"http://{host}:{port}{PATH}"
        self._token = token
        self._take = take
        self._gap = gap
        self._heard = math.inf
        self._told = False

    async def run(self) -> None:
        """Read, and again whenever the stream breaks, for ever."""
        headers = {"Authorization": f"Bearer {self._token}"}
        timeout = httpx.Timeout(SILENCE, connect=1.0)
        async with httpx.AsyncClient(headers=headers, timeout=timeout, trust_env=False) as http:
            while True:
                try:
                    await self._read(http)
                    why = "ended"
                except httpx.HTTPError as error:
                    why = str(error) or type(error).__name__
                if self.current or not self._told:
                    log.warning("calls of %s are not followed now: %s", self.peer.name, why)
                    self._told = True
                self.current = False
                await trio.sleep(AGAIN)

    async def _read(self, http: httpx.AsyncClient) -> None:
        async with http.stream("GET", self._url) as answer:
            answer.raise_for_status()
            rest = b""
            async for data in answer.aiter_bytes():
                now = trio.current_time()
                if now > self._heard + GAP:
                    self._gap(self.peer)
                self._heard = now
                *lines, rest = (rest + data).split(b"\n")
                self._lines(lines)

    def _lines(self, lines: Iterable[bytes]) -> None:
        events: list[Event] = []
        current = False
        for line in lines:
            try:
                found = _decoder.decode(line)
            except msgspec.MsgspecError:
                # A newer release's, or cut: what it says is said again in the next picture.
                continue
            if isinstance(found, Current):
                current = True
            elif not isinstance(found, Beat):
                events.append(found)
        if events:
            self._take(events)
        if current and not self.current:
            self.current = True
            self.first.set()
            log.info("calls of %s are followed", self.peer.name)

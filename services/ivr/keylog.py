"""The keys of calls as media servers saw them: what was pressed while no IVR server listened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import httpx
import msgspec
import trio

from services.core.discovery import Instance

log = logging.getLogger(__name__)

GATHER = 0.05
"""Seconds in which calls are gathered that are asked about together."""
WITHIN = 0.5
"""Seconds for the media servers to answer; then calls go on without."""

Pressed = list[tuple[str, float]]
"""Keys and their age in seconds, the oldest first."""

_decoder = msgspec.json.Decoder(dict[str, Pressed])


class KeyLog:
    """Asks every media server, for a call's media may have moved; `run` has to run."""

    def __init__(
        self, http: httpx.AsyncClient, instances: Callable[[], Iterable[Instance]]
    ) -> None:
        self._http = http
        self._instances = instances
        self._asked: dict[str, Pressed] = {}
        self._answered = trio.Event()
        self._wake = trio.Event()

    async def of(self, call_id: str) -> Pressed:
        """All keys of a call that are known; none where nobody answers in time."""
        mine = self._asked.setdefault(call_id, [])
        answered = self._answered
        self._wake.set()
        await answered.wait()
        return sorted(mine, key=lambda pressed: -pressed[1])

    async def run(self) -> None:
        """Ask for what calls want to know, many at once, for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._wake.wait()
                await trio.sleep(GATHER)
                asked, self._asked = self._asked, {}
                answered, self._answered = self._answered, trio.Event()
                self._wake = trio.Event()
                nursery.start_soon(self._ask_all, asked, answered)

    async def _ask_all(self, asked: dict[str, Pressed], answered: trio.Event) -> None:
        with trio.move_on_after(WITHIN):
            async with trio.open_nursery() as nursery:
                for instance in self._instances():
                    nursery.start_soon(self._ask, instance, asked)
        answered.set()

    async def _ask(self, instance: Instance, asked: dict[str, Pressed]) -> None:
        url = f"{instance.meta.get('admin', '')}/v1/digits"
        try:
            answer = await self._http.post(url, json=list(asked))
            answer.raise_for_status()
            for call_id, pressed in _decoder.decode(answer.content).items():
                if call_id in asked:
                    asked[call_id] += pressed
        except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError) as error:
            log.info("%s does not tell of keys: %s", instance.id, error or type(error).__name__)

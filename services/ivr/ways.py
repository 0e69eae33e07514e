"""Tells the Call Managers what calls have come by, for their records: all that waits at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import httpx
import trio

from services.core.discovery import Instance

log = logging.getLogger(__name__)

AT_ONCE = 200
"""Calls that one request tells of."""
MOST = 10_000
"""Calls that wait for a Call Manager which does not answer; later ones are not told of."""


class Ways:
    """Every Call Manager may write a record, so each is told. `run` has to run."""

    def __init__(
        self, http: httpx.AsyncClient, instances: Callable[[], Iterable[Instance]]
    ) -> None:
        self._http = http
        self._instances = instances
        self._waiting: dict[str, dict[str, list[str]]] = {}
        self._wake = trio.Event()

    def tell(self, call_id: str, way: list[str]) -> None:
        """``way`` so far, step by step; returns at once."""
        for instance in self._instances():
            waiting = self._waiting.setdefault(instance.id, {})
            if call_id in waiting or len(waiting) < MOST:
                waiting[call_id] = way
        self._wake.set()

    async def run(self) -> None:
        """Tell, for ever. What is said while a Call Manager is told goes with the next request."""
        under_way: set[str] = set()

        async def tell(instance: Instance) -> None:
            try:
                await self._tell(instance)
            finally:
                under_way.discard(instance.id)

        async with trio.open_nursery() as nursery:
            while True:
                self._wake = trio.Event()
                there = {instance.id: instance for instance in self._instances()}
                for name in list(self._waiting):
                    if name not in there:
                        del self._waiting[name]
                    elif name not in under_way and self._waiting[name]:
                        under_way.add(name)
                        nursery.start_soon(tell, there[name])
                await self._wake.wait()

    async def _tell(self, instance: Instance) -> None:
        while waiting := self._waiting.get(instance.id):
            calls = {call_id: waiting.pop(call_id) for call_id in list(waiting)[:AT_ONCE]}
            try:
                answer = await self._http.put(
                    f"{instance.meta.get('admin', '')}/v1/ways", json={"calls": calls}
                )
                answer.raise_for_status()
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                why = str(error) or type(error).__name__
                log.info("%s was not told of %d calls: %s", instance.id, len(calls), why)

"""A picture in the registry, followed as it changes."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import Generic, Self, TypeVar

import httpx
import trio

from services.core.discovery.blocking import SPACING, backoff, is_unborn, next_index
from services.core.discovery.errors import (
    RegistryError,
    RegistryRefusedError,
    RegistryUnreachableError,
)
from services.core.discovery.transport import Params, Transport

log = logging.getLogger(__name__)

T = TypeVar("T")

_jitter = random.SystemRandom().random


class Watch(AsyncIterator[T], Generic[T]):
    """Every picture of ``path``: at once, when it changes, and when the registry is back.

    ``empty`` stands for 404. Never ends by itself and raises nothing: while the registry is away
    there is no picture. A class, not an async generator, so that a loop may simply be left.
    """

    def __init__(
        self,
        transport: Transport,
        path: str,
        params: Params,
        decode: Callable[[bytes], T],
        empty: T,
    ) -> None:
        self._transport = transport
        self._path = path
        self._params = params
        self._decode = decode
        self._empty = empty
        self._index = 0
        self._seen = 0
        self._failures = 0
        self._last: T | None = None
        self._not_before = 0.0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while True:
            await trio.sleep_until(self._not_before)
            self._not_before = trio.current_time() + SPACING
            try:
                answer = await self._transport.block(self._path, self._params, self._index)
                answered, picture = self._read(answer)
            except RegistryError as error:
                self._missed(error)
                continue
            self._index = next_index(self._index, answered)
            self._seen = answered
            back, self._failures = self._failures > 0, 0
            if back:
                log.warning("registry: %s is followed again", self._path)
            if back or picture != self._last:
                self._last = picture
                return picture

    def _missed(self, error: RegistryError) -> None:
        if not self._failures:
            log.warning("%s; still trying", error)
        self._failures += 1
        self._index = 0
        self._not_before = trio.current_time() + backoff(self._failures, _jitter())

    def _read(self, answer: httpx.Response) -> tuple[int, T]:
        try:
            answered = int(answer.headers.get("X-Consul-Index", "0"))
            knows_leader = answer.headers.get("X-Consul-KnownLeader") != "false"
            if is_unborn(self._seen, answered, knows_leader):
                raise RegistryUnreachableError(f"registry: {self._path}: no leader, and it lags")
            if answer.status_code == 404:
                return answered, self._empty
            return answered, self._decode(answer.content)
        except ValueError as error:  # msgspec's errors are ValueErrors
            raise RegistryRefusedError(
                f"GET {self._path}", answer.status_code, f"unreadable answer: {error}"
            ) from None

"""How tasks wait for what the user agent's machines say: two cheap primitives over trio."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Promise(Generic[T]):
    """A value that comes later, once; whoever waits gets it."""

    __slots__ = ("_event", "_then", "_value")

    def __init__(self) -> None:
        self._event: trio.Event | None = None
        self._then: Callable[[T], None] | None = None
        self._value: list[T] = []

    @property
    def kept(self) -> bool:
        """It is there."""
        return bool(self._value)

    @property
    def value(self) -> T | None:
        """The value; None if it is not there."""
        return self._value[0] if self._value else None

    def keep(self, value: T) -> None:
        """Here it is; a second one is passed over."""
        if not self._value:
            self._value.append(value)
            if self._event is not None:
                self._event.set()
            if self._then is not None:
                self._then(value)

    def then(self, callback: Callable[[T], None]) -> None:
        """Have ``callback`` called with the value."""
        self._then = callback
        if self._value:
            callback(self._value[0])

    async def wait(self) -> T:
        """The value."""
        if not self._value:
            if self._event is None:
                self._event = trio.Event()
            await self._event.wait()
        return self._value[0]


class Mailbox(AsyncIterator[T]):
    """What is put in is taken out in order, by one task or several. `close` ends the taking.

    Past ``limit`` nothing more is taken in; `put` says so.
    """

    __slots__ = ("_closed", "_event", "_items", "_limit")

    def __init__(self, limit: int) -> None:
        self._items: deque[T] = deque()
        self._limit = limit
        self._closed = False
        self._event: trio.Event | None = None

    def put(self, item: T, *, always: bool = False) -> bool:
        """Whether it was taken in."""
        if self._closed or (len(self._items) >= self._limit and not always):
            return False
        self._items.append(item)
        self._ring()
        return True

    def close(self) -> None:
        """Nothing more comes; what is in can still be taken."""
        self._closed = True
        self._ring()

    def _ring(self) -> None:
        event, self._event = self._event, None
        if event is not None:
            event.set()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            if self._event is None:
                self._event = trio.Event()
            await self._event.wait()
        return self._items.popleft()

"""Conditions with a deadline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")


async def until(
    what: str,
    condition: Callable[[], Awaitable[T]],
    *,
    within: float = 120.0,
    every: float = 0.1,
    why: Callable[[], str] = str,
) -> T:
    """The first true value of ``condition``; seconds.

    Raises AssertionError with ``what``, and what ``why`` says then. A condition that hangs is cut
    off at the deadline too.
    """
    last: object = None
    with trio.move_on_after(within):
        while True:
            value = await condition()
            if value:
                return value
            last = value
            await trio.sleep(every)
    raise AssertionError(f"not within {within:g} s: {what}; last seen: {last!r}\n{why()}".rstrip())

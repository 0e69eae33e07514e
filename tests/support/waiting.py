"""Waiting for what nobody tells: another process, or a server that has no event for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")


async def until(condition: Callable[[], object], within: float = 15.0) -> None:
    """Wait until it is so. Raises trio.TooSlowError."""
    with trio.fail_after(within):
        while not condition():  # noqa: ASYNC110 - what is waited for says nothing
            await trio.sleep(0.01)


async def eventually(
    ask: Callable[[], Awaitable[T]], wish: Callable[[T], object] = bool, *, within: float = 30.0
) -> T:
    """The first answer that meets the wish. Raises AssertionError with the last that did not."""
    answer: T | None = None
    with trio.move_on_after(within):
        while True:
            answer = await ask()
            if wish(answer):
                return answer
            await trio.sleep(0.05)
    raise AssertionError(f"not within {within:g} s; last: {str(answer)[-500:]}")

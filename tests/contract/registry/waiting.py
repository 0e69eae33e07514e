from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")


async def eventually(
    ask: Callable[[], Awaitable[T]], wish: Callable[[T], object] = bool, *, within: float = 20.0
) -> T:
    """The first answer that meets the wish; a real registry tells its servers a moment later."""
    with trio.fail_after(within):
        while True:
            answer = await ask()
            if wish(answer):
                return answer
            await trio.sleep(0.1)

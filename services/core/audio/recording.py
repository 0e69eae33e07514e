"""What is being recorded of a leg or a room."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import trio

Ended: TypeAlias = Literal["stopped", "silence", "limit", "closed", "failed"]


class Recorded(msgspec.Struct, frozen=True):
    """How a recording ended.

    ``ended``: ``stopped`` by `Recording.stop` or by another recording, by ``silence`` or the
    ``limit``, because its leg or room was ``closed``, or it has ``failed``, and ``problem`` says
    why. The file has so many ``seconds``; of one that failed, what there is is in ``<path>.part``.
    """

    path: Path
    seconds: float
    ended: Ended
    problem: str = ""


class Recording:
    """``await recording`` gives `Recorded` when the file is whole and on disk."""

    def __init__(self, path: Path, stop: Callable[[], None]) -> None:
        self.path = path
        self._stop = stop
        self._begun = time.monotonic()
        self._over = trio.Event()
        self._recorded: Recorded | None = None

    @property
    def seconds(self) -> float:
        """How long it is, or has been until now."""
        return self._recorded.seconds if self._recorded else time.monotonic() - self._begun

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._recorded is not None

    def stop(self) -> None:
        """End it; nothing if it is over."""
        if self._recorded is None:
            self._stop()

    def end(self, recorded: Recorded) -> None:
        """The plane says that it is over."""
        if self._recorded is None:
            self._recorded = recorded
            self._over.set()

    def __await__(self) -> Generator[Any, Any, Recorded]:
        return self._wait().__await__()

    async def _wait(self) -> Recorded:
        await self._over.wait()
        assert self._recorded is not None  # noqa: S101 - `end` sets both
        return self._recorded

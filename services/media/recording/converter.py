"""The agent's end of the converting process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import trio

from services.media.recording.worker import Done


class Converter:
    """The converting process, started when it is needed and again when it died."""

    def __init__(self) -> None:
        self._process: trio.Process | None = None
        self._buffer = b""

    async def convert(self, work: bytes, deadline: float) -> Done:
        """What became of ``work``; a process that takes over ``deadline`` seconds is killed."""
        with trio.move_on_after(deadline):
            try:
                return msgspec.json.decode(await self._ask(work), type=Done)
            except (trio.BrokenResourceError, EOFError, msgspec.DecodeError):
                self.kill()
                return Done(outcome="died", problem="the converter died of it")
        self.kill()
        return Done(outcome="died", problem=f"it took over {deadline:.0f} s")

    async def _ask(self, work: bytes) -> bytes:
        if self._process is None or self._process.poll() is not None:
            self._buffer = b""
            self._process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "services.media.recording.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=Path(__file__).parents[3],
            )
        process = self._process
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        await process.stdin.send_all(work + b"\n")
        while b"\n" not in self._buffer:
            chunk = await process.stdout.receive_some()
            if not chunk:
                raise EOFError
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def kill(self) -> None:
        """End the process; the next work starts another."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        self._process = None

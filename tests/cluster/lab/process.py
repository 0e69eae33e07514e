"""A program on a host."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from tests.cluster.lab.waiting import until
from tests.support.hanging import stop


class Process:
    """``pid`` is the program's own. What it writes, errors too, is in ``output``."""

    def __init__(
        self, words: Sequence[str], env: Mapping[str, str], output: Path, *, nice: int = 0
    ) -> None:
        self.words = tuple(words)
        self.output = output
        with output.open("ab") as stream:
            # In a session of its own, so that a Ctrl-C at the tests does not reach it.
            self._popen = subprocess.Popen(
                self.words,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=dict(env),
                start_new_session=True,
            )
        self.pid = self._popen.pid
        if nice:
            os.setpriority(os.PRIO_PROCESS, self.pid, nice)
            # Where the kernel groups processes by session, it is the group that has a priority.
            group = Path(f"/proc/{self.pid}/autogroup")
            if group.exists():
                group.write_text(str(nice))

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        return self.returncode is None

    def signal(self, number: int) -> None:
        """Nothing if it has ended."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, to this process alone; it is gone when this returns."""
        self._popen.kill()
        self._popen.wait(60)

    def kill_group(self) -> None:
        """SIGKILL to it and what it has started in its session's process group."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(60)

    def terminate(self) -> None:
        """SIGTERM; `wait` for the end."""
        self._popen.terminate()

    def pause(self) -> None:
        """SIGSTOP: hung, not dead, when this returns."""
        stop(self.pid)

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    async def wait(self, within: float = 120.0) -> int:
        """Its exit status; AssertionError if it goes on running."""

        async def ended() -> bool:
            return not self.running

        await until(f"end of {' '.join(self.words)}", ended, within=within, why=self.text)
        return self._popen.returncode

    def text(self) -> str:
        """All that it wrote so far."""
        return self.output.read_text(errors="replace")

    async def says(self, words: str, within: float = 120.0) -> str:
        """Wait until its output has ``words``; the whole of it. AssertionError if it ends first."""

        async def said() -> str:
            await trio.lowlevel.checkpoint()
            text = self.text()
            if words not in text and not self.running:
                raise AssertionError(f"ended with {self.returncode} before {words!r}:\n{text}")
            return text if words in text else ""

        return await until(f"{words!r} from {self.words[0]}", said, within=within, why=self.text)

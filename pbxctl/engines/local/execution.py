"""One run of a task, through its executor: start it, find it again, wait for it, end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

import pbxctl
from pbxctl.engines.executor import ALREADY_RUNS, LEFTOVERS
from pbxctl.engines.executor.processes import group, kill_all, lock_holder, marked
from pbxctl.engines.local.state_dir import read, write

MARK = "PBX_TASK_RUN"
"""In the environment of every process of a run: by it they are found, whoever adopted them."""
STARTING = 10.0
"""Seconds for an executor to say that it runs."""
GRACE = 5.0
"""Seconds beyond its own deadlines before an executor that was told to stop is killed."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What an executor is told; see `pbxctl.engines.executor.__main__`."""

    run: str
    command: str
    args: tuple[str, ...]
    environment: dict[str, str]
    directory: str
    kill_signal: str
    kill_timeout: float
    log: str
    max_files: int
    max_file_size: int
    mark: str


class Running(msgspec.Struct, frozen=True, kw_only=True):
    run: str
    executor: int
    pid: int
    started: float


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """``exit`` is None where the executor died first and nobody knows."""

    run: str
    exit: int | None = None
    error: str = ""


class Execution:
    """``stem`` names the order and what the executor writes: ``<stem>.order`` and so on."""

    def __init__(self, stem: Path, kill_timeout: float, executor: int, process: int) -> None:
        self._stem = stem
        self._kill_timeout = kill_timeout
        self._executor = executor
        self._process = process
        self.running: Running | None = None

    @classmethod
    async def start(cls, stem: Path, order: Order) -> Execution:
        """Run it, or find what runs already. Raises OSError."""
        write(with_suffix(stem, "order"), msgspec.json.encode(order))
        # Its parent is this process, which may die: no pipe between them, and nobody's terminal.
        process = subprocess.Popen(  # noqa: ASYNC220 - returns as soon as it was made
            [sys.executable, "-S", "-m", "pbxctl.engines.executor", with_suffix(stem, "order")],
            env={"PYTHONPATH": str(Path(pbxctl.__file__).parents[1]), "LC_ALL": "C.UTF-8"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Its end is waited for through its descriptor; Popen must not mind.
        process.returncode = 0
        execution = cls(stem, order.kill_timeout, process.pid, os.pidfd_open(process.pid))
        await execution._said()
        if execution._exit_status() == ALREADY_RUNS:
            execution.close()
            return await cls.adopt(stem, order.kill_timeout) or await cls.start(stem, order)
        return execution

    @classmethod
    async def adopt(cls, stem: Path, kill_timeout: float) -> Execution | None:
        """What runs already; None if nothing does."""
        lock = with_suffix(stem, "lock")
        while executor := lock_holder(lock):
            try:
                process = os.pidfd_open(executor)
            except ProcessLookupError:
                continue
            # It still holds the lock, so it is the one that the descriptor stands for.
            if lock_holder(lock) == executor:
                execution = cls(stem, kill_timeout, executor, process)
                await execution._said()
                return execution
            os.close(process)
        return None

    async def wait(self) -> Ended:
        """How it ended, when nothing of it is left."""
        await trio.lowlevel.wait_readable(self._process)
        self._exit_status()
        order = read(with_suffix(self._stem, "order"), msgspec.json.Decoder(Order).decode)
        run = self.running.run if self.running else order.run if order else ""
        ended = ended_of(self._stem)
        if ended and ended.run == run:
            return ended
        await clear_up(f"{MARK}={run}", self.running.pid if self.running else 0)
        return Ended(run=run, error="its executor died")

    async def stop(self) -> Ended:
        """Have it stopped: its signal, then SIGKILL after its time-out. How it ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.tell_to_stop)
            ended = await self.wait()
            nursery.cancel_scope.cancel()
        return ended

    async def tell_to_stop(self) -> None:
        """The half of `stop` that goes on beside a `wait`; cancel it when that is over."""
        self._send(signal.SIGTERM)
        await trio.sleep(self._kill_timeout + LEFTOVERS + GRACE)
        self._send(signal.SIGKILL)

    def close(self) -> None:
        """Forget it; it goes on."""
        os.close(self._process)

    async def _said(self) -> None:
        """Wait until the executor has said that the task runs, or has ended."""
        with trio.move_on_after(STARTING):
            while True:
                with trio.move_on_after(0.02) as going:
                    await trio.lowlevel.wait_readable(self._process)
                running = running_of(self._stem)
                if running and running.executor == self._executor:
                    self.running = running
                    return
                if not going.cancelled_caught:
                    return

    def _exit_status(self) -> int | None:
        """The executor's own, where it has ended and this process is its parent; reaps it."""
        try:
            ended = os.waitid(os.P_PIDFD, self._process, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return None
        return ended.si_status if ended else None

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, number)


async def clear_up(mark: str, main: int = 0) -> None:
    """End what an executor that died has left: what carries its mark, and the task's group."""
    carries = marked(mark.encode())

    def belongs(pid: int) -> bool:
        return carries(pid) or (main > 0 and group(pid) == main and _marked_group(main, carries))

    await trio.to_thread.run_sync(kill_all, belongs, LEFTOVERS)


def _marked_group(main: int, carries: Callable[[int], bool]) -> bool:
    """Whether the group is still the task's: its leader may be gone, its number may be reused."""
    return group(main) == 0 or carries(main)


def with_suffix(stem: Path, suffix: str) -> Path:
    """One of a run's files."""
    return stem.with_name(f"{stem.name}.{suffix}")


def running_of(stem: Path) -> Running | None:
    """What the executor wrote when the task had started."""
    return read(with_suffix(stem, "running"), msgspec.json.Decoder(Running).decode)


def ended_of(stem: Path) -> Ended | None:
    """What the executor wrote at the end."""
    return read(with_suffix(stem, "ended"), msgspec.json.Decoder(Ended).decode)

"""``python -m pbxctl.engines.executor ORDER``: run the task of this order file, once.

ORDER is JSON with ``run`` (a name for this run), ``command``, ``args``, ``environment``,
``directory``, ``kill_signal``, ``kill_timeout``, ``log``, ``max_files``, ``max_file_size`` and
``mark`` (``NAME=value``, in the environment of this run alone). Beside it, with the same stem:

``.lock``     held as long as this process lives, so that a task never runs twice
``.running``  ``{"run", "executor", "pid", "started"}``, once the task runs
``.ended``    ``{"run", "exit", "error"}``, when nothing of it is left

SIGTERM stops the task with its signal, and with SIGKILL after its time-out.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pbxctl.engines.executor import ALREADY_RUNS, LEFTOVERS
from pbxctl.engines.executor.logfile import LogFile
from pbxctl.engines.executor.processes import everyone, group, kill_all, marked, parent, reap

PR_SET_CHILD_SUBREAPER = 36
CHUNK = 65536


def _ignore(_number: int, _frame: object) -> None:
    """Does nothing; but only a signal that has a handler wakes the poll."""


def _forget_signals() -> None:
    """Undo what the engine's starter ignored or blocked: a task would inherit it.

    But for signals 32 and 33, which the C library keeps to itself and sets when it needs them.
    """
    for number in signal.valid_signals():
        # Python ignores SIGPIPE and SIGXFSZ for itself; Popen gives them back to the task.
        if number in (signal.SIGPIPE, signal.SIGXFSZ):
            continue
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


class Executor:
    """One run of one task."""

    def __init__(self, order_path: Path) -> None:
        self._order: dict[str, Any] = json.loads(order_path.read_text())
        self._stem = order_path.with_suffix("")
        self._log = LogFile(
            Path(self._order["log"]), self._order["max_files"], self._order["max_file_size"]
        )
        self._main = 0
        self._exit: int | None = None
        self._kill_at: float | None = None
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """The executor's own exit status."""
        lock = self._lock()
        if lock < 0:
            return ALREADY_RUNS
        # What the task leaves behind becomes this process's child, and is found and ended.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        stopping: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        for name in (signal.SIGINT, signal.SIGHUP):
            # Not SIG_IGN, which the task would inherit.
            signal.signal(name, _ignore)
        _forget_signals()
        self._with("ended").unlink(missing_ok=True)
        error = ""
        try:
            output = self._start()
        except OSError as refusal:
            error = f"{self._order['command']}: {refusal.strerror}"
            self._exit = 127
            self._log.write(f"[the task did not start: {error}]\n".encode())
        else:
            self._follow(output, stopping)
            self._clear_up()
            self._drain(output)
            os.close(output)
        self._log.close()
        self._note("ended", {"run": self._order["run"], "exit": self._exit, "error": error})
        os.close(lock)
        return 0

    def _lock(self) -> int:
        file = os.open(self._with("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # A record lock: the kernel tells who asks which process holds it.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(file)
            return -1
        return file

    def _start(self) -> int:
        output, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output, False)
        try:
            task = subprocess.Popen(
                [self._order["command"], *self._order["args"]],
                env=self._order["environment"],
                cwd=self._order["directory"],
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        except OSError:
            os.close(output)
            raise
        finally:
            os.close(theirs)
        self._main = task.pid
        # Waited for by `reap`, together with what becomes this process's child.
        task.returncode = 0
        self._note(
            "running",
            {
                "run": self._order["run"],
                "executor": os.getpid(),
                "pid": task.pid,
                "started": time.time(),
            },
        )
        return output

    def _follow(self, output: int, stopping: list[int]) -> None:
        poll = select.poll()
        poll.register(output, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while self._exit is None:
            timeout = None
            if self._kill_at is not None:
                timeout = max(0.0, (self._kill_at - time.monotonic()) * 1000)
            ready = dict(poll.poll(timeout))
            if self._wake in ready:
                os.read(self._wake, CHUNK)
            if output in ready and not self._carry(output):
                poll.unregister(output)
            ended = reap()
            if self._main in ended:
                self._exit = ended[self._main]
            elif stopping and self._kill_at is None:
                self._kill_at = time.monotonic() + float(self._order["kill_timeout"])
                self._signal(signal.Signals[self._order["kill_signal"]])
            elif self._kill_at is not None and time.monotonic() >= self._kill_at:
                kill_all(self._belongs, LEFTOVERS)
                # That reaped the task; what it ended with is known.
                self._exit = -int(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._main, number)

    def _belongs(self, pid: int) -> bool:
        """Children (the task, and orphans that became ours), its group, and those it marked."""
        if pid == self._main or parent(pid) == os.getpid() or group(pid) == self._main:
            return group(pid) > 0
        return marked(self._order["mark"].encode())(pid)

    def _clear_up(self) -> None:
        left = [pid for pid in everyone() if self._belongs(pid)]
        if left and not kill_all(self._belongs, LEFTOVERS):
            self._log.write(b"[some of the task's processes cannot be ended]\n")

    def _carry(self, output: int) -> bool:
        """One read; False at the end of output."""
        try:
            data = os.read(output, CHUNK)
        except BlockingIOError:
            return True
        self._log.write(data)
        return bool(data)

    def _drain(self, output: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(output, CHUNK):
                self._log.write(data)

    def _with(self, suffix: str) -> Path:
        return self._stem.with_name(f"{self._stem.name}.{suffix}")

    def _note(self, suffix: str, value: dict[str, Any]) -> None:
        """Whole or not at all. On a full disk the engine sees that this process ended, no more."""
        temporary = self._with(f"{suffix}.new")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(value))
            temporary.replace(self._with(suffix))


if __name__ == "__main__":
    sys.exit(Executor(Path(sys.argv[1])).run())

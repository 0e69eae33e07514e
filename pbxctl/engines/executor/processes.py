"""Processes as /proc shows them: who belongs to a task, and is it still the same one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator

_FLOCK = "hhqqi0q"
"""struct flock of 64-bit Linux: type, whence, start, length, pid."""


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if there is none (or a zombie).

    Together with the pid it names a process for ever: a recycled pid has another start.
    """
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in ("Z", "X") else 0


def parent(pid: int) -> int:
    """A process's parent; 0 if there is none."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def group(pid: int) -> int:
    """A process's group; 0 if there is none, or a zombie."""
    fields = _stat(pid)
    return int(fields[2]) if fields and fields[0] not in ("Z", "X") else 0


def marked(mark: bytes) -> Callable[[int], bool]:
    """Whether a process was started with this ``NAME=value`` in its environment."""

    def ask(pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - no pathlib here
                return mark in file.read().split(b"\0") and start_time(pid) > 0
        except OSError:
            return False

    return ask


def everyone() -> Iterator[int]:
    """Every process but this one."""
    me = os.getpid()
    for name in os.listdir("/proc"):  # noqa: PTH208 - the same
        if name.isdecimal() and int(name) != me:
            yield int(name)


def kill_all(belongs: Callable[[int], bool], within: float) -> bool:
    """SIGKILL to all who belong, until there are none; False if some are left after ``within`` s.

    Again and again, because a process may fork while it is looked for.
    """
    until = time.monotonic() + within
    while True:
        found = [pid for pid in everyone() if belongs(pid)]
        if not found:
            return True
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        reap()
        if time.monotonic() > until:
            return False
        time.sleep(0.01)


def reap() -> dict[int, int]:
    """Ended children of this process: pid → exit status, negative a signal."""
    found: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        found[pid] = os.waitstatus_to_exitcode(status)


def lock_holder(path: str | os.PathLike[str]) -> int:
    """Pid of who holds a file's record lock; 0 if nobody does (fcntl(2), F_GETLK)."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, question))
        return 0 if kind == fcntl.F_UNLCK else pid
    finally:
        os.close(file)


def _stat(pid: int) -> list[str]:
    """From the third field of /proc/<pid>/stat on (proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - the same
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return text[text.rfind(")") + 2 :].split()

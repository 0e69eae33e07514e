"""Processes that hang: stopped, not dead."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hung(pid: int) -> Iterator[None]:
    """The process hangs inside, and goes on afterwards.

    Raises TimeoutError if it has not stopped within 10 s.
    """
    stop(pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def stop(pid: int, within: float = 10) -> None:
    """SIGSTOP, and wait until it has taken hold.

    kill(2) only queues it: until the thread that is to take it gets a processor, the others go on.
    """
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + within
    while not all(state in "TtZX" for state in _states(pid)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} was told to stop {within:g} s ago, and goes on")
        time.sleep(0.001)


def _states(pid: int) -> list[str]:
    """One letter a thread (proc(5))."""
    states: list[str] = []
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            text = path.read_text()
        except (FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            continue
        states.append(text.rpartition(")")[2].split()[0])
    return states

"""Doing things inside a network namespace."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

RUN = Path("/run/netns")
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Sockets and child processes made in the block are the namespace's; no ``await`` in it."""
    with Path("/proc/thread-self/ns/net").open() as home, (RUN / name).open() as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")


def pids(name: str) -> list[int]:
    """Every process that is in the namespace, zombies left out."""
    try:
        wanted = (RUN / name).stat().st_ino
    except FileNotFoundError:
        return []
    found: list[int] = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            # A zombie has no namespace any more.
            if Path(entry.path, "ns/net").stat().st_ino == wanted:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def signal_all(name: str, number: int) -> None:
    """A signal to every process in the namespace but this one."""
    for pid in pids(name):
        if pid != os.getpid():
            _signal(pid, number)


def kill_all(name: str, *, within: float = 60.0) -> None:
    """SIGKILL until nobody is left: what forks meanwhile dies in the next round."""
    deadline = time.monotonic() + within
    while left := [pid for pid in pids(name) if pid != os.getpid()]:
        for pid in left:
            _signal(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name}: processes {left} do not die")
        time.sleep(0.002)


def _signal(pid: int, number: int) -> None:
    # It may have ended meanwhile.
    with suppress(ProcessLookupError):
        os.kill(pid, number)

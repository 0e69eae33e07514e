"""Starts engines for a benchmark and reads what they cost from /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


class Engine:
    """A process in a group of its own, with everything that it forks."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def pids(self) -> list[int]:
        """The group's living processes."""
        return [pid for pid in _pids() if _group(pid) == self.process.pid]

    def cpu(self) -> float:
        """Seconds of CPU that the group has used, user and system."""
        total = 0.0
        for pid in self.pids():
            fields = _stat(pid)
            if fields:
                total += (int(fields[11]) + int(fields[12])) / TICK
        return total

    def memory(self) -> float:
        """MiB of the group, shared pages counted once (PSS)."""
        total = 0
        for pid in self.pids():
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            total += next(int(x.split()[1]) for x in text.splitlines() if x.startswith("Pss:"))
        return total / 1024


@contextmanager
def engine(
    command: list[str],
    directory: Path,
    name: str,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Engine]:
    """Runs a command in its own process group, output in ``directory/name.log``; ends it."""
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    running = Engine(process, log)
    try:
        yield running
    except TimeoutError:
        print(log.read_text(errors="replace")[-2000:])
        raise
    finally:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sent)
            except ProcessLookupError:
                break
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                continue
        process.wait(10)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30) -> float:
    """Seconds until the condition held. Raises TimeoutError naming what was waited for."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.02)
    return time.monotonic() - start


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _stat(pid: int) -> list[str]:
    """/proc/<pid>/stat from the state on (proc(5)): 2 is pgrp, 11 utime, 12 stime."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _group(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[2]) if fields else 0

"""PostgreSQL's processes on this host, for when it has to be ended without its help."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def postmaster(data: Path) -> int | None:
    """The process that runs the database in ``data``; None if there is none.

    ``postmaster.pid`` outlives a kill, and its number may be another's by now: PostgreSQL's first
    process has the data directory as its working directory.
    """
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        if (PROC / str(pid) / "cwd").readlink() == data.resolve():
            return pid
    except (OSError, ValueError, IndexError):
        pass
    return None


def kill(data: Path) -> bool:
    """Kill the database in ``data`` and all its processes at once; False if it did not run.

    Even what is stopped dies by SIGKILL. Recovery at the next start is PostgreSQL's daily bread.
    """
    first = postmaster(data)
    if first is None:
        return False
    family = [first, *_children(first)]
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return True


def kill_program(path: Path) -> bool:
    """Kill every process that runs the script at ``path``; False if there is none."""
    found = False
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if os.fsencode(path) in words[1:]:
                    os.kill(int(entry.name), signal.SIGKILL)
                    found = True
    return found


def _children(parent: int) -> list[int]:
    found: list[int] = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                # The name in parentheses may hold anything: what follows the last one counts.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == parent:
                    found.append(int(entry.name))
    return found

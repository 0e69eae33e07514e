"""One lab's number, and the end of labs whose process has died.

A number is a file below ``/run/pbx-lab``; its lab holds a lock on it, which the kernel frees with
the process. Whoever starts a lab sweeps away those whose lock is free.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from tests.cluster.lab.commands import command
from tests.cluster.lab.namespace import RUN, kill_all

STATE = Path("/run/pbx-lab")
LAST = 255 * 255


class Reservation:
    """``id`` is four hexadecimal digits; ``network`` and ``network6`` are prefixes of addresses."""

    def __init__(self, number: int, file: TextIOWrapper) -> None:
        self._file = file
        self.id = f"{number:04x}"
        self.network = f"10.{number // 255}.{number % 255}"
        self.network6 = f"fd00:{number:x}:"
        self.prefix = f"pbx-{self.id}-"
        self.directory = Path(f"/tmp/pbx-lab-{self.id}")

    def end(self) -> None:
        """Kill what is left, remove all of it, give the number back."""
        with _serial():
            _remove(self.prefix, self.directory)
            Path(self._file.name).unlink()
            self._file.close()


def reserve() -> Reservation:
    """A free number, and a sweep first. Raises RuntimeError where this is not root."""
    if os.geteuid() != 0:
        raise RuntimeError("a lab needs root: it makes network namespaces")
    with _serial():
        sweep()
        start = os.getpid() * 7
        for step in range(LAST):
            number = (start + step) % LAST + 1
            try:
                file = (STATE / f"{number:04x}").open("x")
            except FileExistsError:
                continue
            fcntl.flock(file, fcntl.LOCK_EX)
            reservation = Reservation(number, file)
            json.dump({"pid": os.getpid()}, file)
            file.flush()
            # What a lab of a lost state file left.
            _remove(reservation.prefix, reservation.directory)
            reservation.directory.mkdir()
            return reservation
    raise RuntimeError("no lab network is free")


def sweep() -> list[str]:
    """Remove what labs left whose process is dead; their ids."""
    swept: list[str] = []
    for path in sorted(STATE.iterdir()):
        if len(path.name) != 4:
            continue
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            _remove(f"pbx-{path.name}-", Path(f"/tmp/pbx-lab-{path.name}"))
            path.unlink()
            swept.append(path.name)
    return swept


def _remove(prefix: str, directory: Path) -> None:
    names = [path.name for path in RUN.glob(f"{prefix}*")] if RUN.is_dir() else []
    for name in names:
        kill_all(name)
    for name in names:
        command("ip", "netns", "delete", name)
    for mount in _mounts(directory):
        command("umount", "--lazy", mount)
    shutil.rmtree(directory, ignore_errors=True)


def _mounts(directory: Path) -> list[str]:
    below = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted((each for each in below if each.startswith(f"{directory}/")), reverse=True)


@contextmanager
def _serial() -> Iterator[Any]:
    """One at a time: a lab that is being made must not be taken for a dead one."""
    STATE.mkdir(exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

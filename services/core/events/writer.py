"""Appends events to the spool. Kamailio's workers import it: no event loop, nothing that waits."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from services.core.events.types import Event

SUFFIX = ".jsonl"
ROTATE_AT = 16 * 1024 * 1024
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
FILE = re.compile(rf"({NAME.pattern})\.(\d{{8}})\.jsonl")


class EventWriter:
    """Appends events to files of its own, ``<name>.<number>.jsonl``, one JSON object a line.

    ``name`` belongs to one living writer at a time and stays the same over restarts (a worker's
    rank, not its process id): a file is known to be finished by a higher number of the same name.
    One ``write(2)`` an event and no buffer, so that kill -9 of the process loses none; no fsync, so
    that a call never waits for a disk. The file is opened at the first event, so a writer may be
    made before a fork.
    """

    def __init__(self, directory: Path, name: str, *, rotate_at: int = ROTATE_AT) -> None:
        if not NAME.fullmatch(name):
            raise ValueError(f"writer's name {name!r}: letters, digits, - and _ only")
        self._directory = directory
        self._name = name
        self._rotate_at = rotate_at
        self._encode = msgspec.json.Encoder().encode
        self._descriptor = -1
        self._size = 0
        self._torn = False
        self.failures = 0
        self.error = ""

    def append(self, event: Event) -> bool:
        """Whether the event is in the file; never raises: a full disk must not end a call.

        What failed is counted in ``failures``, its text in ``error``.
        """
        line = self._encode(event) + b"\n"
        try:
            if self._descriptor < 0 or self._size >= self._rotate_at:
                self._open()
            if self._torn:
                # The rest of a line that a full disk cut off: readers skip what is before it.
                line = b"\n" + line
            written = os.write(self._descriptor, line)
        except OSError as error:
            self.failures += 1
            self.error = f"{self._directory}: {error.strerror}"
            return False
        self._size += written
        self._torn = written < len(line)
        if self._torn:
            self.failures += 1
            self.error = f"{self._directory}: {written} of {len(line)} bytes written"
        return not self._torn

    def close(self) -> None:
        """Give the file back; the next event opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        """Open the newest file if it may grow and ends in a whole line, else the next one."""
        self._directory.mkdir(parents=True, exist_ok=True)
        number = max(numbers(self._directory, self._name), default=0)
        descriptor, size = -1, 0
        if number:
            descriptor, size = _open_at(self._directory, self._name, number)
        if not number or size >= self._rotate_at or not _ends_whole(descriptor, size):
            if descriptor >= 0:
                os.close(descriptor)
            descriptor, size = _open_at(self._directory, self._name, number + 1)
        self.close()
        self._descriptor, self._size, self._torn = descriptor, size, False


def numbers(directory: Path, name: str) -> list[int]:
    """The numbers of a writer's files that are there."""
    found = (FILE.fullmatch(entry) for entry in os.listdir(directory))  # noqa: PTH208 - names only
    return [int(match[2]) for match in found if match and match[1] == name]


def _open_at(directory: Path, name: str, number: int) -> tuple[int, int]:
    path = directory / f"{name}.{number:08d}{SUFFIX}"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    return descriptor, os.fstat(descriptor).st_size


def _ends_whole(descriptor: int, size: int) -> bool:
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"

"""A log file that is rotated by its only writer."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class LogFile:
    """``path`` and older ones ``path.1`` and so on, ``files`` in all, each up to ``size`` bytes.

    A full disk loses output, never stops the writer: what was lost is noted when there is room.
    """

    def __init__(self, path: Path, files: int, size: int) -> None:
        self._path = path
        self._files = files
        self._size = size
        self._file = -1
        self._written = 0
        self._lost = 0

    def write(self, data: bytes) -> None:
        """Append; begins a new file, at a line's start if it can, where the old one is full."""
        while data:
            self._open()
            room = self._size - self._written
            if len(data) <= room:
                part, data = data, b""
            else:
                cut = data.rfind(b"\n", 0, max(room, 0)) + 1
                # A line longer than a whole file is cut where the file ends.
                if not cut and not self._written:
                    cut = self._size
                part, data = data[:cut], data[cut:]
            if part:
                self._append(part)
            if data:
                self._rotate()

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, part: bytes) -> None:
        if self._lost:
            note = f"\n[{self._lost} bytes of output were lost: the disk was full]\n".encode()
            if self._put(note):
                self._lost += len(part)
                return
            self._lost = 0
        self._lost += self._put(part)

    def _open(self) -> None:
        if self._file >= 0:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        # Where it cannot be opened, writing fails too, and says what was lost.
        with contextlib.suppress(OSError):
            self._file = os.open(self._path, flags, 0o640)
            self._written = os.fstat(self._file).st_size

    def _put(self, data: bytes) -> int:
        """Write, and how many bytes could not be."""
        while data:
            try:
                written = os.write(self._file, data)
            except OSError:
                return len(data)
            self._written += written
            data = data[written:]
        return 0

    def _rotate(self) -> None:
        self.close()
        self._written = 0
        # If the directory is gone or read-only: go on with the file there is.
        with contextlib.suppress(OSError):
            for number in range(self._files - 1, 0, -1):
                older = self._numbered(number)
                newer = self._numbered(number - 1)
                if newer.exists():
                    newer.replace(older)
            if self._files == 1:
                self._path.unlink(missing_ok=True)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

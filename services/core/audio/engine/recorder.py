"""Recordings: the loop gathers half a second of all of them, a thread writes it to files."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.core.audio import wire
from services.core.failover.priority import hurry

BLOCK = 25
"""Frames that are written at once."""
LAST = 5.0
"""Seconds that a disk has for the last of it."""
_HEAD = struct.Struct("<4sI4s4sIHHIIHH4sI")


def wav_head(rate: int, size: int) -> bytes:
    """The head of a WAV file with ``size`` bytes of 16-bit mono at ``rate``."""
    return _HEAD.pack(
        b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16, b"data", size
    )


class _Begin(NamedTuple):
    row: int
    recording: int
    path: str


class _Part(NamedTuple):
    row: int
    sound: NDArray[np.int16]


class _End(NamedTuple):
    row: int
    recording: int
    ended: str


class Outcome(NamedTuple):
    """What the thread tells: a recording is on disk, or could not be written."""

    row: int
    recording: int
    ended: str
    seconds: float
    problem: str


class _Recording(msgspec.Struct):
    recording: int
    limit: int
    silence: int


class Recorder:
    """One recording a row at most. Rows are legs and rooms."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._recordings: dict[int, _Recording] = {}
        self._queue: SimpleQueue[_Begin | _Part | _End | None] = SimpleQueue()
        self._outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self._fill = 0
        self._fresh: set[int] = set()
        self._changed = False
        self._rows: NDArray[np.intp] = np.zeros(0, np.intp)
        self._block = np.zeros((0, BLOCK, width), np.int16)
        self._still = np.zeros(0, np.int64)
        self._silence = np.zeros(0, np.int64)
        self._frames = np.zeros(0, np.int64)
        self._limit = np.zeros(0, np.int64)
        writer = Writer(self._queue, self._outcomes, width * 50)
        self._thread = threading.Thread(target=writer.run, name="recorder", daemon=True)
        self._thread.start()

    def begin(self, command: wire.Record) -> None:
        """Record a row from now on; what was recorded of it before is stopped."""
        row = command.row
        self.end(row, "stopped")
        self._flush()
        self._queue.put(_Begin(row, command.recording, command.path))
        self._recordings[row] = _Recording(command.recording, command.limit, command.silence)
        self._fresh.add(row)
        self._changed = True

    def stop(self, row: int, recording: int) -> None:
        """End a recording, if it is still this."""
        found = self._recordings.get(row)
        if found is not None and found.recording == recording:
            self.end(row, "stopped")

    def end(self, row: int, ended: str) -> None:
        """End whatever is recorded of a row."""
        if row not in self._recordings:
            return
        self._flush()
        self._queue.put(_End(row, self._recordings.pop(row).recording, ended))
        self._changed = True

    def recorded(self, row: int) -> bool:
        """Whether a row is being recorded."""
        return row in self._recordings

    def rows(self) -> NDArray[np.intp]:
        """What is being recorded."""
        if self._changed:
            self._arrange()
        return self._rows

    def _arrange(self) -> None:
        """Rows have changed; the block is empty."""
        old = {int(row): i for i, row in enumerate(self._rows)}
        rows = sorted(self._recordings)
        found = [self._recordings[row] for row in rows]
        places = [-1 if row in self._fresh else old.get(row, -1) for row in rows]
        self._still = np.array([self._still[i] if i >= 0 else 0 for i in places], np.int64)
        self._frames = np.array([self._frames[i] if i >= 0 else 0 for i in places], np.int64)
        self._silence = np.array([recording.silence for recording in found], np.int64)
        self._limit = np.array([recording.limit for recording in found], np.int64)
        self._rows = np.array(rows, np.intp)
        self._block = np.zeros((len(rows), BLOCK, self._width), np.int16)
        self._fresh.clear()
        self._changed = False

    def step(self, sound: NDArray[np.int16], speaking: NDArray[np.bool_]) -> None:
        """The frame of each of `rows`, and whether somebody speaks in it."""
        rows = self._rows
        self._block[:, self._fill] = sound
        self._fill += 1
        self._frames += 1
        self._still = np.where(speaking, 0, self._still + 1)
        full = (self._limit > 0) & (self._frames >= self._limit)
        over = full | (self._silence > 0) & (self._still >= self._silence)
        if self._fill == BLOCK:
            self._flush()
        for i in np.nonzero(over)[0]:
            self.end(int(rows[i]), "limit" if full[i] else "silence")

    def outcomes(self) -> Iterator[Outcome]:
        """What has come of recordings since it was asked for last."""
        while not self._outcomes.empty():
            outcome = self._outcomes.get()
            found = self._recordings.get(outcome.row)
            if found is not None and found.recording == outcome.recording:
                del self._recordings[outcome.row]
                self._changed = True
            yield outcome

    def _flush(self) -> None:
        """Hand over what was gathered."""
        if self._fill:
            for i, row in enumerate(self._rows):
                self._queue.put(_Part(int(row), self._block[i, : self._fill]))
            self._block = np.zeros_like(self._block)
        self._fill = 0

    def close(self) -> None:
        """End all of them, and wait until they are on disk."""
        for row in list(self._recordings):
            self.end(row, "closed")
        self._queue.put(None)
        self._thread.join(LAST)


class _File(msgspec.Struct):
    recording: int
    path: str
    file: BinaryIO | None
    size: int = 0


class Writer:
    """The thread's work: any number of files. A failure ends one recording, and is told."""

    def __init__(
        self,
        queue: SimpleQueue[_Begin | _Part | _End | None],
        outcomes: SimpleQueue[Outcome],
        rate: int,
    ) -> None:
        self._queue = queue
        self._outcomes = outcomes
        self._rate = rate
        self._files: dict[int, _File] = {}

    def run(self) -> None:
        """Until None is in the queue."""
        hurry()  # it holds the interpreter at times, and who waits for that is the loop
        while (item := self._queue.get()) is not None:
            row = item.row
            try:
                self._do(item)
            except OSError as error:
                failed = self._files.pop(row)
                if failed.file is not None:
                    with contextlib.suppress(OSError):
                        failed.file.close()
                self._tell(row, failed, "failed", f"{failed.path}: {error.strerror}")

    def _do(self, item: _Begin | _Part | _End) -> None:
        row = item.row
        if isinstance(item, _Begin):
            entry = self._files[row] = _File(item.recording, item.path, None)
            entry.file = Path(f"{item.path}.part").open("wb")  # noqa: SIM115 - kept until the end
            entry.file.write(wav_head(self._rate, 0))
            return
        entry = self._files.get(row)
        if entry is None or entry.file is None:
            return  # it has failed before
        if isinstance(item, _Part):
            entry.file.write(item.sound.astype("<i2").tobytes())
            entry.size += item.sound.nbytes
            entry.file.seek(0)  # so that it is a whole file, whenever the power goes
            entry.file.write(wav_head(self._rate, entry.size))
            entry.file.seek(0, os.SEEK_END)
            return
        entry.file.close()
        Path(f"{entry.path}.part").replace(entry.path)
        del self._files[row]
        self._tell(row, entry, item.ended, "")

    def _tell(self, row: int, entry: _File, ended: str, problem: str) -> None:
        seconds = entry.size / 2 / self._rate
        self._outcomes.put(Outcome(row, entry.recording, ended, seconds, problem))

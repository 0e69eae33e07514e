"""Reads the spool: everything once, or what was added since."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from services.core.events.types import Event
from services.core.events.writer import FILE

CHUNK = 1024 * 1024
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class Tail:
    """What was added to a spool since the last `read`.

    ``positions`` maps a file's name to the bytes of it that were read; hand it to a new `Tail` to
    go on from there. A line without its end is left for the next time, or dropped and counted in
    ``malformed`` if its file is finished, that is, if its writer has begun another.
    """

    def __init__(self, directory: Path, positions: Mapping[str, int] | None = None) -> None:
        self._directory = directory
        self._positions = dict(positions or {})
        self.malformed = 0

    @property
    def positions(self) -> dict[str, int]:
        """How far each file was read, in bytes."""
        return dict(self._positions)

    def read(self) -> list[Event]:
        """New events, by time; at most about 1 MiB of each file, so ask again until it is empty.

        Raises OSError where the spool cannot be read; a spool that is not there is empty.
        """
        events: list[Event] = []
        progress = True
        while progress and not events:
            # Listed before anything is read: a file with a successor in this list grows no more.
            files = _list(self._directory)
            last = dict(_writers(files))
            before = dict(self._positions)
            for name in files:
                writer, number = _parts(name)
                events += self._read(name, finished=number < last[writer])
            for name in self._positions.keys() - set(files):
                del self._positions[name]
            progress = self._positions != before
        events.sort(key=lambda event: event.time)
        return events

    def remove_finished(self) -> int:
        """Remove the files that were read to their end and have a successor; says how many."""
        files = _list(self._directory)
        last = dict(_writers(files))
        removed = 0
        for name in files:
            writer, number = _parts(name)
            path = self._directory / name
            if number < last[writer] and self._positions.get(name, 0) >= path.stat().st_size:
                path.unlink()
                removed += 1
        return removed

    def lag(self) -> int:
        """Bytes of the spool that were not read yet."""
        return sum(
            max(0, (self._directory / name).stat().st_size - self._positions.get(name, 0))
            for name in _list(self._directory)
        )

    def _read(self, name: str, *, finished: bool) -> list[Event]:
        position = self._positions.get(name, 0)
        with (self._directory / name).open("rb") as file:
            file.seek(position)
            data = file.read(CHUNK)
            end = data.rfind(b"\n") + 1
            if not end and len(data) == CHUNK:
                # No line is that long: what is here is not an event, go past it.
                end = len(data)
            if finished and end < len(data) and not file.read(1):
                end = len(data)
        self._positions[name] = position + end
        return list(self._decode(data[:end]))

    def _decode(self, data: bytes) -> Iterator[Event]:
        for line in data.splitlines():
            if not line:
                continue
            try:
                yield _decoder.decode(line)
            except msgspec.MsgspecError:
                self.malformed += 1


def read_all(directory: Path) -> list[Event]:
    """Every event in the spool, by time."""
    tail = Tail(directory)
    events: list[Event] = []
    while more := tail.read():
        events += more
    events.sort(key=lambda event: event.time)
    return events


def _list(directory: Path) -> list[str]:
    try:
        found = os.listdir(directory)  # noqa: PTH208 - names only, several times a second
    except FileNotFoundError:
        return []
    return sorted(name for name in found if FILE.fullmatch(name))


def _parts(name: str) -> tuple[str, int]:
    match = FILE.fullmatch(name)
    assert match  # noqa: S101 - _list gives no other names
    return match[1], int(match[2])


def _writers(files: list[str]) -> Iterator[tuple[str, int]]:
    """Each writer and its newest file's number; the files are sorted, so the last one wins."""
    return (_parts(name) for name in files)

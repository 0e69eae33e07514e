"""The directory of recordings: what lies where, and each step from capture to index on disk.

==================  ==============================================================================
``tmp/``            rtpengine's metadata of recordings that run
``metadata/``       rtpengine's metadata of recordings that ended, until they are converted
``pcaps/``          rtpengine's captures, until they are converted
``streams/``        what rtpengine said of a recorded call's ports, while it had the call
``wav/<day>/``      the recordings
``unindexed/``      entries of the index that no Call Manager has acknowledged yet
``failed/``         captures that cannot be converted
==================  ==============================================================================

A step is done by a rename or a deletion, after what it rests on has been written: killed at any
moment, the agent takes up where it was, and doing a step twice does no harm.
"""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from operator import itemgetter
from pathlib import Path

import msgspec

from services.media.recording import disk
from services.media.recording.conversion import Result, Work
from services.media.recording.metadata import Leg, Metadata, Name, read, read_name, streams

DAY = 86400.0


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A recording as the index has it: `services.core.store.recordings.Recording`."""

    id: str
    call: str
    server: str
    path: str
    started: float
    tenant: str
    caller: str
    callee: str
    duration: float
    size: int
    keep_until: float


class Library:
    """Blocking file operations, each short; raise OSError where the disk does."""

    def __init__(self, directory: Path, server: str) -> None:
        self.directory = directory
        self._server = server

    def prepare(self) -> None:
        """Make the directories; remove what a killed conversion left behind."""
        for name in ("tmp", "metadata", "pcaps", "streams", "wav", "unindexed", "failed"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        for part in self.directory.glob("wav/*/*.part"):
            part.unlink(missing_ok=True)
        for part in self.directory.glob("*/.*.new"):
            part.unlink(missing_ok=True)

    def running(self) -> dict[str, Name]:
        """Recordings that rtpengine has open, or had when it was killed, by name."""
        return self._names("tmp")

    def finished(self) -> dict[str, Name]:
        """Recordings that wait for conversion, by name."""
        return self._names("metadata")

    def _names(self, folder: str) -> dict[str, Name]:
        found = (read_name(path.name) for path in (self.directory / folder).iterdir())
        return {name.name: name for name in found if name is not None}

    def lost(self) -> list[Name]:
        """Those of `running` whose call has a newer one: rtpengine has at most one of a call.

        It was killed, and knows the call again because the media were led to the same server.
        """
        written: list[tuple[float, Name]] = []
        for name in self.running().values():
            with suppress(FileNotFoundError):  # it has just ended
                written.append((self._open(name).stat().st_mtime, name))
        newest = {name.call: name for _, name in sorted(written, key=itemgetter(0))}
        return [name for _, name in written if newest[name.call] != name]

    def finish(self, name: Name) -> bool:
        """Take a recording over from an rtpengine that died; False if it was not there."""
        try:
            self._open(name).rename(self._metadata(name))
        except FileNotFoundError:
            return False
        return True

    def _open(self, name: Name) -> Path:
        return self.directory / "tmp" / f"rtpengine-meta-{name.name}.tmp"

    def _metadata(self, name: Name) -> Path:
        return self.directory / "metadata" / f"rtpengine-meta-{name.name}.txt"

    def capture(self, name: Name) -> Path:
        """Where rtpengine writes the packets."""
        return self.directory / "pcaps" / f"{name.name}.pcap"

    def _legs(self, name: Name) -> Path:
        return self.directory / "streams" / f"{name.name}.json"

    def keep_legs(self, name: Name, legs: tuple[Leg, ...]) -> None:
        """Remember what rtpengine says of a call, which it forgets with the call."""
        _write(self._legs(name), msgspec.json.encode(legs))

    def read(self, name: Name) -> tuple[Metadata, tuple[Leg, ...]]:
        """All that is known of a finished recording."""
        metadata = read(self._metadata(name).read_text(errors="replace"))
        try:
            legs = msgspec.json.decode(self._legs(name).read_bytes(), type=tuple[Leg, ...])
        except (FileNotFoundError, msgspec.DecodeError):
            legs = ()
        return metadata, legs

    def work(self, name: Name) -> Work:
        """What the converter is to do; the result is a file that `publish` puts in its place."""
        part = self.directory / "wav" / "new" / f"{name.id}.part"
        part.parent.mkdir(exist_ok=True)
        metadata, legs = self.read(name)
        return Work(capture=str(self.capture(name)), wav=str(part), streams=streams(metadata, legs))

    def publish(self, name: Name, work: Work, result: Result, keep: int) -> Entry:
        """Put a converted recording in its place and its entry in line for the index."""
        day = datetime.datetime.fromtimestamp(result.started, datetime.UTC).date()
        entry_id = f"{int(result.started * 1000):012x}-{name.id}"
        path = self.directory / "wav" / day.isoformat() / f"{entry_id}.wav"
        path.parent.mkdir(exist_ok=True)
        about = self.read(name)[0].about
        _sync(Path(work.wav))
        Path(work.wav).rename(path)
        entry = Entry(
            id=entry_id,
            call=name.call,
            server=self._server,
            path=str(path),
            started=result.started,
            tenant=about.tenant,
            caller=about.caller,
            callee=about.callee,
            duration=round(result.duration, 3),
            size=result.bytes,
            keep_until=result.started + keep * DAY if keep else 0.0,
        )
        _write(self.directory / "unindexed" / f"{entry_id}.json", msgspec.json.encode(entry))
        self.discard(name)
        return entry

    def discard(self, name: Name) -> None:
        """Remove what conversion started from; the metadata last, by which it is found."""
        self.capture(name).unlink(missing_ok=True)
        self._legs(name).unlink(missing_ok=True)
        self._metadata(name).unlink(missing_ok=True)

    def set_aside(self, name: Name) -> None:
        """Keep a capture that cannot be converted where it is tried no more."""
        for path in (self.capture(name), self._legs(name), self._metadata(name)):
            if path.exists():
                path.rename(self.directory / "failed" / path.name)

    def unindexed(self) -> Iterator[tuple[str, bytes]]:
        """Entries to be sent to the index, oldest first: id and JSON."""
        for path in sorted((self.directory / "unindexed").glob("[!.]*.json")):
            yield path.stem, path.read_bytes()

    def acknowledged(self, entry_id: str) -> None:
        """A Call Manager has this entry."""
        (self.directory / "unindexed" / f"{entry_id}.json").unlink(missing_ok=True)

    def expire(self, keep: int, today: datetime.date) -> list[str]:
        """Remove the days that are over; which ones."""
        root = self.directory / "wav"
        days = disk.expired((entry.name for entry in root.iterdir()), keep, today)
        for day in days:
            shutil.rmtree(root / day)
        return days

    def free(self) -> int:
        """Bytes that this process may still write here."""
        found = os.statvfs(self.directory)
        return found.f_bavail * found.f_frsize


def _write(path: Path, data: bytes) -> None:
    """All or nothing, also where the power goes."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    _sync(new)
    new.rename(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())

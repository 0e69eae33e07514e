"""Putting a host's files into a directory: what differs, and nothing else."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pbxctl.host_config.host import File

NOTE = ".host-config.json"


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Whose the directory is, and what was written: relative path → digest."""

    cluster: str
    server: str
    files: dict[str, str]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """``what`` is ``add``, ``change`` or ``remove``; ``diff`` is empty for secrets."""

    path: str
    what: str
    diff: tuple[str, ...] = ()


class NotOursError(Exception):
    """The directory holds something else; the message says what."""


def check(target: Path, cluster: str, server: str) -> Note | None:
    """The note of an earlier run; None where there is none.

    Raises NotOursError for a directory that is not this server's, OSError.
    """
    note = target / NOTE
    try:
        found = msgspec.json.decode(note.read_bytes(), type=Note)
    except FileNotFoundError:
        if target.is_dir() and any(target.iterdir()):
            raise NotOursError(
                f"{target} has files in it that are not host-config's; give an empty or a new one"
            ) from None
        return None
    except msgspec.MsgspecError:
        raise NotOursError(f"{note} cannot be read; give an empty or a new directory") from None
    if (found.cluster, found.server) != (cluster, server):
        raise NotOursError(
            f"{target} is that of {found.server} of {found.cluster}; each server has its own"
        )
    return found


def changes(target: Path, files: Mapping[str, File], note: Note | None) -> list[Change]:
    """What `write` would do, by path. Raises OSError."""
    found: list[Change] = []
    for path, file in files.items():
        there = _read(target / path)
        if there is None:
            found.append(Change(path=path, what="add"))
        elif there != file.text or (target / path).stat().st_mode & 0o777 != file.mode:
            diff = () if file.secret else _diff(there, file.text)
            found.append(Change(path=path, what="change", diff=diff))
    stale = set(note.files if note else ()) - set(files)
    found += [Change(path=path, what="remove") for path in stale if (target / path).exists()]
    return sorted(found, key=lambda change: change.path)


def write(
    target: Path, files: Mapping[str, File], todo: list[Change], cluster: str, server: str
) -> None:
    """Carry out; each file is replaced as a whole, the note first and last. Raises OSError."""
    if not todo:
        return
    target.mkdir(parents=True, exist_ok=True)
    note = Note(cluster=cluster, server=server, files={p: _digest(f) for p, f in files.items()})
    # Before the first file, so that what a run cut short has left is still ours.
    _replace(target / NOTE, msgspec.json.format(msgspec.json.encode(note)).decode() + "\n", 0o600)
    for change in todo:
        path = target / change.path
        if change.what == "remove":
            path.unlink(missing_ok=True)
            continue
        file = files[change.path]
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, file.text, file.mode)


def _replace(path: Path, text: str, mode: int) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as out:
            out.write(text)
            os.fchmod(out.fileno(), mode)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _digest(file: File) -> str:
    return hashlib.sha256(file.text.encode()).hexdigest()


def _diff(before: str, after: str) -> tuple[str, ...]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return tuple(line for line in lines if not line.startswith(("---", "+++", "@@")))

"""One change of a cluster at a time: a lock on a file of its state directory.

The kernel frees it with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import pwd
from collections.abc import Generator
from pathlib import Path

import msgspec

NAME = "apply.lock"


class LockedError(Exception):
    """Another program changes the cluster; the message says which."""


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lock, for the message to whom does not."""

    command: str
    user: str
    pid: int
    since: str


@contextlib.contextmanager
def hold(directory: Path, command: str) -> Generator[None]:
    """Holds the cluster's lock for the block. Raises `LockedError` at once if another has it.

    The directory is made if it is not there, and removed again if nothing else came into it.
    """
    file = _open(directory)
    try:
        me = Holder(command, user(), os.getpid(), _now())
        os.ftruncate(file, 0)
        os.pwrite(file, msgspec.json.encode(me), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            (directory / NAME).unlink()
            directory.rmdir()
        os.close(file)


def _open(directory: Path) -> int:
    path = directory / NAME
    while True:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # who held it has just removed the directory
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = _message(os.pread(file, 4096, 0), directory.name)
            os.close(file)
            raise LockedError(message) from None
        except BaseException:
            os.close(file)
            raise
        # The holder before removed its file when it was done: a lock on that one holds nothing.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)


def _message(holder: bytes, cluster: str) -> str:
    try:
        who = msgspec.json.decode(holder, type=Holder)
    except msgspec.DecodeError:
        return f"{cluster} is being changed by another pbxctl that has just started"
    return (
        f"{cluster} is being changed: pbxctl {who.command} by {who.user} since {who.since} "
        f"(process {who.pid}); wait until it is done"
    )


def user() -> str:
    """The name of who runs this program, their number where they have none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).astimezone().strftime("%H:%M:%S")

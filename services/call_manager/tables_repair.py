"""Tables that are damaged: found before they are opened, set aside, and made anew from the store.

LMDB keeps no checksums, and a file that was cut kills whoever reads behind its end with SIGBUS. So
a child process looks: what kills it, or what it cannot read, is damaged.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import lmdb
import msgspec
import trio

from services.call_manager.tables import (
    DATABASES,
    MAP_SIZE,
    MARKER,
    MAX_READERS,
    MediaServer,
    Number,
)
from services.core.configuration import Tenant, Trunk, User

log = logging.getLogger(__name__)

FILES = ("data.mdb", "lock.mdb")
ASIDE = ".damaged"
CHECK_WITHIN = 120.0
EVERY = 1.0
DECODED = {"tenants": Tenant, "trunks": Trunk, "numbers": Number, "media": MediaServer}


class TablesDamagedError(Exception):
    """The tables cannot be used; the agent that starts next makes them anew."""


def repair(path: Path) -> str:
    """Set damaged tables aside; says what was wrong, "" for nothing. Nobody may write meanwhile.

    Who reads them goes on reading the old files until it looks again. Raises OSError.
    """
    marker = path / MARKER
    why = marker.read_text(errors="replace").strip() if marker.exists() else check(path)
    if why:
        for name in FILES:
            with suppress(FileNotFoundError):
                (path / name).replace(path / (name + ASIDE))
        log.error("tables are made anew: %s; the old ones are %s", why, path / (FILES[0] + ASIDE))
    marker.unlink(missing_ok=True)
    return why


def being_made_anew(path: Path) -> bool:
    """Whether there were damaged tables here, for who sees that the new ones are not complete."""
    return (path / (FILES[0] + ASIDE)).exists()


def check(path: Path, *, users: bool = False) -> str:
    """What is wrong with the tables, "" for nothing or none; ``users`` has each of them decoded."""
    if not (path / FILES[0]).exists():
        return ""
    command = [sys.executable, "-m", __name__, str(path), *(["users"] if users else [])]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=CHECK_WITHIN, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not read within {CHECK_WITHIN:g} s"
    if done.returncode < 0:
        return f"reading them ends with {signal.Signals(-done.returncode).name}"
    return (done.stderr.strip().splitlines() or ["unreadable"])[-1] if done.returncode else ""


async def watch(path: Path) -> None:
    """Return never. Raises TablesDamagedError when the files are not what they were any more."""
    data = path / FILES[0]
    first = size = await trio.to_thread.run_sync(data.stat)
    while True:
        await trio.sleep(EVERY)
        why = ""
        try:
            now = data.stat()
        except FileNotFoundError:
            raise TablesDamagedError(f"{data} is gone") from None
        if now.st_ino != first.st_ino:
            raise TablesDamagedError(f"{data} was replaced")
        # LMDB's files grow and never shrink.
        if now.st_size < size.st_size:
            why = f"cut from {size.st_size} to {now.st_size} bytes"
        elif (path / MARKER).exists():
            why = await trio.to_thread.run_sync(lambda: check(path, users=True))
            if not why:
                (path / MARKER).unlink(missing_ok=True)
        if why:
            report(path, why)
            raise TablesDamagedError(f"{data}: {why}")
        size = now


def report(path: Path, why: str) -> None:
    """Tell that the tables are damaged. Raises nothing: who reports has worse to do."""
    with suppress(OSError):
        (path / MARKER).write_text(why)


def _read(path: Path, *, users: bool) -> None:
    environment = lmdb.open(
        str(path),
        map_size=MAP_SIZE,
        max_dbs=len(DATABASES),
        max_readers=MAX_READERS,
        readonly=True,
    )
    decode = {name: msgspec.json.Decoder(kind).decode for name, kind in DECODED.items()}
    decode_user = msgspec.json.Decoder(User).decode
    with environment.begin() as transaction:
        # Names of the databases are keys of the main one; new tables have none yet.
        there = {bytes(key).decode() for key in transaction.cursor().iternext(values=False)}
        for name in there:
            database = environment.open_db(name.encode(), transaction, create=False)
            for _, value in transaction.cursor(database).iternext():
                if name in decode:
                    decode[name](value)
                elif name == "users":
                    if users:
                        decode_user(value)
                    elif value[:1] != b"{" or value[-1:] != b"}":
                        raise ValueError("a user is not JSON")


if __name__ == "__main__":
    try:
        _read(Path(sys.argv[1]), users=sys.argv[2:] == ["users"])
    except (lmdb.Error, ValueError, OSError) as error:
        sys.exit(str(error))

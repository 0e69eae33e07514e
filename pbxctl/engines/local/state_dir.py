"""The engine's files. Layout: docs/architecture.md, "Local engine"."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pbxctl.engines.engine import EngineError

LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path (unix(7): sun_path, without its final zero)."""
SOCKET_NAME = 20
"""Bytes kept for the name of a socket that a task makes in its allocation directory."""

T = TypeVar("T")


class StateDir:
    """``root`` as an absolute path; nothing is made before `prepare`."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.secrets = self.root / "secrets"
        self.registry = self.root / "registry"
        self.logs = self.root / "logs"
        self.alloc = self.root / "alloc"
        self.jobs = self.root / "jobs"
        self.data = self.root / "data"
        self.socket = self.root / "engine.sock"
        self.pid = self.root / "engine.pid"
        self.port = self.registry / "port"
        self.log = self.logs / "engine.log"

    def prepare(self) -> None:
        """Make directories and secrets that are not there. Raises EngineError."""
        self.check_socket(self.socket)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for directory in (self.logs, self.alloc, self.data):
                directory.mkdir(exist_ok=True)
            for directory in (self.secrets, self.registry, self.jobs):
                directory.mkdir(exist_ok=True, mode=0o700)
            self._secret("cluster_key")
            self._secret("admin_token")
        except OSError as error:
            raise self.failed(error) from None

    def check_socket(self, path: Path, room: int = 0) -> None:
        """Raises EngineError if a socket cannot be there: the path is too long."""
        length = len(os.fsencode(path)) + room
        if length > LONGEST_SOCKET:
            raise EngineError(
                f"{path}: {length - LONGEST_SOCKET} bytes too long for a socket: choose a shorter "
                "state directory (--state-dir, PBX_STATE_DIR) or shorter cluster and server names"
            )

    def failed(self, error: OSError) -> EngineError:
        """An operating system's error in an operator's words."""
        where = error.filename or self.root
        return EngineError(f"{where}: {error.strerror}: the local engine cannot keep its state")

    def admin_token(self) -> str:
        """Raises EngineError if it is not there."""
        path = self.secrets / "admin_token"
        try:
            return path.read_text().strip()
        except OSError as error:
            raise EngineError(f"{path}: {error.strerror}") from None

    def remove(self) -> None:
        """Remove everything of it. Raises EngineError."""
        trees = (self.alloc, self.jobs, self.data, self.logs, self.registry, self.secrets)
        try:
            for tree in trees:
                if tree.exists():
                    shutil.rmtree(tree)
            for file in (self.socket, self.pid):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise self.failed(error) from None
        # What is not the engine's stays, and its directory with it.
        with suppress(OSError):
            self.root.rmdir()

    def _secret(self, name: str) -> None:
        path = self.secrets / name
        if path.exists():
            return
        write(path, secrets.token_hex(32).encode())


def write(path: Path, data: bytes) -> None:
    """Put a file in place whole, for its owner alone, and on the disk. Raises OSError."""
    temporary = path.with_name(f"{path.name}.new")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, data)
        os.fsync(file)
    finally:
        os.close(file)
    temporary.replace(path)


def read(path: Path, decode: Callable[[bytes], T]) -> T | None:
    """What a file holds; None if it is not there or is no longer readable."""
    try:
        return decode(path.read_bytes())
    except (OSError, ValueError):
        return None


def boot_id() -> str:
    """Of this boot of the machine: what ran before it does not run any more."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

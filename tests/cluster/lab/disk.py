"""A disk that can be full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tests.cluster.lab.commands import command

BLOCK = bytes(65536)


class SmallDisk:
    """A tmpfs; the lab's end unmounts it."""

    def __init__(self, directory: Path, mebibytes: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise RuntimeError(f"{directory}: a small disk hides what is there; make it first")
        self._ballast = directory / ".full"
        command("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "pbx-lab", str(directory))

    def fill(self, full: bool) -> None:
        """Write until nothing fits, or remove that."""
        if not full:
            self._ballast.unlink(missing_ok=True)
            return
        size = len(BLOCK)
        with self._ballast.open("ab", buffering=0) as ballast:
            while size:
                try:
                    os.write(ballast.fileno(), BLOCK[:size])
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2

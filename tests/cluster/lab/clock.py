"""A wall clock that steps, for some processes of one machine.

Time namespaces shift only the monotonic clocks, and stepping the machine's would step every lab. So
libfaketime is loaded into the processes that ask for it; it reads the offset from a file.
"""

from __future__ import annotations

from pathlib import Path


class Clock:
    """``file`` holds the offset; it is made at once, so that it can be named in an environment."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0.0

    def environment(self) -> dict[str, str]:
        """What a process must be started with. Raises RuntimeError without libfaketime."""
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            raise RuntimeError("libfaketime is not installed (tools/packages.txt)")
        self._write()
        return {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, seconds: float) -> None:
        """Move it, from where it is."""
        self._offset += seconds
        self._write()

    def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._offset:+f}\n")
        new.replace(self._file)

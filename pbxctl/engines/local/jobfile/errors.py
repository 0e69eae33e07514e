"""What is wrong with a job file, and where."""

from __future__ import annotations

import msgspec

from pbxctl.engines.engine import EngineError


class Place(msgspec.Struct, frozen=True):
    """A position in a file; lines and columns count from 1, 0 where there is none."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}"


class JobFileError(EngineError):
    """A job file that the local engine cannot run; prints as ``file:line:column: what``."""

    def __init__(self, place: Place, what: str) -> None:
        self.place = place
        super().__init__(f"{place}: {what}")

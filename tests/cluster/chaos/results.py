"""Trials as they come, in a file that the next run goes on from: one JSON object a line."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tests.cluster.chaos.figures import Trial


class Came(msgspec.Struct, frozen=True, kw_only=True, tag="trial"):
    """A failure that was made, and what it cost. ``seconds`` is how long all of it took."""

    failure: str
    trials: list[Trial]
    seconds: float
    load: float
    """The machine's load average then."""


class Broke(msgspec.Struct, frozen=True, kw_only=True, tag="broken"):
    """A trial that did not come to its end."""

    failure: str
    why: str


class Results:
    """What was found so far; with a ``file``, in earlier runs too.

    Raises ValueError, which names file and line, for what is none of these.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self.came: list[Came] = []
        self.broke: list[Broke] = []
        if file is not None and file.exists():
            for number, line in enumerate(file.read_bytes().splitlines(), 1):
                try:
                    self._keep(msgspec.json.decode(line, type=Came | Broke))
                except msgspec.MsgspecError as error:
                    raise ValueError(f"{file}:{number}: no result of chaos: {error}") from None

    def add(self, one: Came | Broke) -> None:
        """Kept, and in the file when this returns: whoever is interrupted loses nothing."""
        self._keep(one)
        if self._file is not None:
            with self._file.open("ab") as stream:
                stream.write(msgspec.json.encode(one) + b"\n")

    def count(self, failure: str) -> int:
        """How often it was made."""
        return sum(one.failure == failure for one in self.came)

    @property
    def trials(self) -> list[Trial]:
        """All, in the order in which they came."""
        return [trial for one in self.came for trial in one.trials]

    def _keep(self, one: Came | Broke) -> None:
        if isinstance(one, Came):
            self.came.append(one)
        else:
            self.broke.append(one)


def next_failure(results: Results, names: list[str], count: int) -> str:
    """The one made least often, the first of several; empty where each was made ``count`` times.

    So what the machine does else meets all alike.
    """
    least = min(names, key=results.count)
    return least if results.count(least) < count else ""

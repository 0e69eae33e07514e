"""Runs SIPp for a benchmark and reads its statistics file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import engine

LIMIT = 20_000
"""Calls that SIPp holds at once at most."""
SCENARIOS = Path(__file__).parent / "scenarios"


@dataclass(frozen=True)
class Load:
    """What a run of SIPp did. ``seconds`` is its wall time."""

    successful: int
    failed: int
    seconds: float
    retransmissions: int

    @property
    def rate(self) -> float:
        """Successful calls a second."""
        return self.successful / self.seconds


@dataclass(frozen=True, kw_only=True)
class Calls:
    """What SIPp is to do: ``calls`` at ``rate`` a second, each held for ``hold`` ms.

    ``local`` is its address and ``port`` its port, 0 for any; ``users`` the file of users that the
    scenario takes its fields from; it gives up after ``seconds``.
    """

    directory: Path
    scenario: str
    target: str
    local: str
    users: Path
    rate: int
    calls: int
    hold: int = 0
    port: int = 0
    seconds: int = 600

    @property
    def statistics(self) -> Path:
        return self.directory / f"{self.scenario}.csv"

    def command(self) -> list[str]:
        command = [
            "sipp", self.target, "-sf", str(SCENARIOS / f"{self.scenario}.xml"),
            "-inf", str(self.users), "-i", self.local, "-mi", self.local, "-d", str(self.hold),
            "-m", str(self.calls), "-r", str(self.rate), "-l", str(LIMIT), "-nostdin", "-nd",
            "-recv_timeout", "32000", "-timeout", f"{self.seconds}s", "-buff_size", "4000000",
            "-trace_stat", "-stf", str(self.statistics), "-fd", "1",
        ]  # fmt: skip
        return [*command, "-p", str(self.port)] if self.port else command


def call(calls: Calls) -> Load:
    """Places the calls and waits for their end."""
    with started(calls) as done:
        return done()


@contextmanager
def started(calls: Calls) -> Iterator[Callable[[], Load]]:
    """As `call`, while something else is done; what it gives waits for the end."""
    calls.statistics.unlink(missing_ok=True)
    with engine(calls.command(), calls.directory, f"sipp-{calls.scenario}") as running:

        def done() -> Load:
            status = running.process.wait(calls.seconds + 60)
            if status not in (0, 1):
                text = running.log.read_text(errors="replace")[-400:]
                raise RuntimeError(f"sipp {calls.scenario}: exit {status}: {text}")
            return _load(calls.statistics)

        yield done


def _load(statistics: Path) -> Load:
    with statistics.open() as file:
        last = list(csv.DictReader(file, delimiter=";"))[-1]
    hours, minutes, rest = last["ElapsedTime(C)"].split(":")[:3]
    return Load(
        successful=int(last["SuccessfulCall(C)"]),
        failed=int(last["FailedCall(C)"]),
        seconds=int(hours) * 3600 + int(minutes) * 60 + float(rest),
        retransmissions=int(last["Retransmissions(C)"]),
    )

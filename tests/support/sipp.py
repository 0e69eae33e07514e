"""SIPp, one run: scenario in, counts and messages out, and the process gone at the end."""

from __future__ import annotations

import csv
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec
import trio

Transport = Literal["udp", "tcp", "tls"]
# One socket for all calls of a run; over TCP and TLS one connection.
TRANSPORTS: dict[Transport, str] = {"udp": "u1", "tcp": "t1", "tls": "l1"}
MESSAGES = 12000
"""Characters of the message trace that a failure shows: its end."""


class SippResult(msgspec.Struct, frozen=True, kw_only=True):
    """``status`` 0: every call succeeded. ``statistics``: the last row of SIPp's own, by name."""

    status: int
    succeeded: int
    failed: int
    statistics: dict[str, str]
    messages: str
    errors: str

    @property
    def report(self) -> str:
        """For a failed assertion: what went wrong, then the last messages."""
        counts = f"SIPp: status {self.status}, {self.succeeded} succeeded, {self.failed} failed"
        return f"{counts}\n{self.errors[-3000:]}\n{self.messages[-MESSAGES:]}"


class Sipp:
    """A running SIPp. ``address`` and ``port`` are where it is reached."""

    def __init__(self, process: trio.Process, directory: Path, address: str, port: int) -> None:
        self.process = process
        self.directory = directory
        self.address = address
        self.port = port

    async def finish(self, within: float = 30.0) -> SippResult:
        """What it did, when it has ended by itself. Raises AssertionError past ``within`` s."""
        with trio.move_on_after(within):
            await self.process.wait()
        if self.process.returncode is None:
            raise AssertionError(f"SIPp has not ended after {within:g} s\n{self.result().report}")
        return self.result()

    async def succeed(self, within: float = 30.0) -> SippResult:
        """As `finish`; raises AssertionError, with the messages, unless every call succeeded."""
        result = await self.finish(within)
        assert result.status == 0, result.report
        assert result.failed == 0, result.report
        return result

    def result(self) -> SippResult:
        """As far as it is known now."""
        rows: list[dict[str, str]] = []
        if (self.directory / "stat.csv").exists():
            with (self.directory / "stat.csv").open(newline="") as file:
                rows = list(csv.DictReader(file, delimiter=";"))
        last = {name: value or "" for name, value in (rows[-1] if rows else {}).items() if name}
        status = self.process.returncode
        return SippResult(
            status=-1 if status is None else status,
            succeeded=int(last.get("SuccessfulCall(C)") or 0),
            failed=int(last.get("FailedCall(C)") or 0),
            statistics=last,
            messages=self._read("messages.log"),
            errors=self._read("errors.log") + self._read("output.log")[-1500:],
        )

    def _read(self, name: str) -> str:
        path = self.directory / name
        return path.read_text(errors="replace") if path.exists() else ""


@asynccontextmanager
async def sipp(
    scenario: Path,
    *,
    address: str,
    port: int = 5060,
    target: str = "",
    transport: Transport = "udp",
    calls: int = 1,
    rate: float = 10.0,
    at_once: int | None = None,
    rows: Sequence[Sequence[str]] = (),
    variables: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> AsyncGenerator[Sipp]:
    """SIPp with an XML scenario, at ``address:port``, to ``target`` (``host:port``; none for UAS).

    ``rows`` become the CSV of ``[field0]``…, in order; ``variables`` the ``[name]`` keywords.
    ``calls`` 0 means until it is ended here.
    """
    with tempfile.TemporaryDirectory(prefix="sipp-") as name:
        directory = Path(name)
        command = ["sipp", "-sf", str(scenario), "-i", address, "-p", str(port)]
        command += ["-t", TRANSPORTS[transport], "-r", f"{rate:g}", "-nostdin"]
        command += ["-trace_err", "-error_file", "errors.log"]
        command += ["-trace_msg", "-message_file", "messages.log"]
        command += ["-trace_stat", "-stf", "stat.csv", "-fd", "1"]
        if calls:
            command += ["-m", str(calls)]
        if at_once:
            command += ["-l", str(at_once)]
        if rows:
            lines = ["SEQUENTIAL", *(";".join([*row, ""]) for row in rows)]
            (directory / "rows.csv").write_text("\n".join(lines) + "\n")
            command += ["-inf", "rows.csv"]
        for key, value in (variables or {}).items():
            command += ["-key", key, value]
        command += [*options, *([target] if target else [])]
        with (directory / "output.log").open("wb") as output:
            process = await trio.lowlevel.open_process(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"TERM": "dumb", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )
        try:
            yield Sipp(process, directory, address, port)
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                    await process.wait()

"""The user agent of `services/core/sip`: calls answered and ended a second, calls held.

SIPp is the Call Manager: INVITE, 200, ACK, BYE, 200 over UDP. The peer, PJSIP by its Python
binding, does the same in the same run. What counts is the CPU of the process that answers.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench import sipp
from bench.answering import PORT
from bench.processes import Engine, engine, wait_for
from bench.results import Table
from tests.support.hosts import loopback_network

ROUNDS = int(os.environ.get("PBX_BENCH_ROUNDS", "3"))
CALLS = int(os.environ.get("PBX_BENCH_CALLS", "4000"))
HELD = int(os.environ.get("PBX_BENCH_HELD", "5000"))
RATES = {"ours": 500, "pjsua2": 100}
"""Calls a second that each is asked for; it is CPU a call that is compared."""
FASTEST = (500, 750, 1000, 1250, 1500)


def run() -> list[Table]:
    table = Table("SIP user agent")
    costs: dict[str, list[float]] = {"ours": [], "pjsua2": []}
    failed = 0
    for _ in range(ROUNDS):
        for kind, found in costs.items():
            cpu, load = _calls(kind, RATES[kind], CALLS if kind == "ours" else CALLS // 4)
            found.append(cpu)
            failed += load.failed if kind == "ours" else 0
    ours, theirs = (median(found) for found in costs.values())
    table.add(
        "CPU of a call that is answered and ended",
        f"{ours * 1000:.3f} ms ({1 / ours:,.0f} a second and core)",
        peer=f"{theirs * 1000:.3f} ms, pjsua2, which opens RTP sockets too",
        ratio=ours / theirs,
        goal="1,000 a second and core",
        met=1 / ours >= 1000,
    )
    table.add(f"failed of {ROUNDS * CALLS:,} calls", str(failed), goal="0", met=not failed)
    best = 0
    for rate in FASTEST:
        _, load = _calls("ours", rate, rate * 5)
        if load.failed or load.rate < 0.95 * rate:
            break
        best = rate
    table.add("highest rate without a failed call, SIPp on the other core", f"{best} calls/s")
    _held(table)
    return [table]


def _calls(kind: str, rate: int, calls: int) -> tuple[float, sipp.Load]:
    """CPU seconds a call."""
    with _answering(kind) as (running, directory, network):
        before = running.cpu()
        load = _load(directory, network, rate=rate, calls=calls)
        cpu = running.cpu() - before
    return cpu / max(1, load.successful), load


def _held(table: Table) -> None:
    """Memory of calls that are up, when the transactions that made them are gone."""
    with _answering("ours") as (running, directory, network):
        _load(directory, network, rate=200, calls=200)
        before = running.memory()
        held = sipp.started(_asked(directory, network, rate=250, calls=HELD, hold=70_000))
        with held as done:
            time.sleep(HELD / 250 + 36)
            idle, began = running.cpu(), time.monotonic()
            time.sleep(5)
            share = (running.cpu() - idle) / (time.monotonic() - began)
            memory = running.memory() - before
            load = done()
    table.add(
        f"{HELD:,} calls held",
        f"{memory:.0f} MiB, {memory * 1024 / HELD:.1f} KiB a call, {share:.1%} of a core",
        goal="none fails",
        met=not load.failed and load.successful == HELD,
    )


@contextmanager
def _answering(kind: str) -> Iterator[tuple[Engine, Path, str]]:
    with tempfile.TemporaryDirectory(prefix="pbx-bench-") as name, loopback_network() as network:
        command = [sys.executable, "-m", "bench.answering", kind, f"{network}.1"]
        with engine(command, Path(name), kind) as running:
            wait_for(lambda: "ready" in running.log.read_text(), f"{kind} is ready")
            yield running, Path(name), network


def _load(directory: Path, network: str, *, rate: int, calls: int) -> sipp.Load:
    return sipp.call(_asked(directory, network, rate=rate, calls=calls))


def _asked(directory: Path, network: str, *, rate: int, calls: int, hold: int = 0) -> sipp.Calls:
    users = directory / "users.csv"
    users.write_text("SEQUENTIAL\n1;\n")
    return sipp.Calls(
        directory=directory,
        scenario="answered",
        target=f"{network}.1:{PORT}",
        local=f"{network}.2",
        users=users,
        rate=rate,
        calls=calls,
        hold=hold,
    )

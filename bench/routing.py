"""Authenticated calls and registrations: the Call Manager's Python routing beside plain Kamailio
configuration that does the same job, in turn, in one run, on the same cores as SIPp."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median

from bench import sipp
from bench.processes import Engine, engine
from bench.results import Table
from bench.switches import DOMAIN, FIRST, Switch, switch
from tests.support.hosts import loopback_network

USERS = 1000
ROUNDS = int(os.environ.get("PBX_BENCH_ROUNDS", "3"))
CALLS = int(os.environ.get("PBX_BENCH_CALLS", "4000"))
RATE = 150
KINDS = ("python", "plain")


def run() -> list[Table]:
    figures: dict[str, dict[str, list[float]]] = {
        kind: {"call": [], "registration": []} for kind in KINDS
    }
    table = Table("Routing: authenticated calls and registrations")
    failed = 0
    for _ in range(ROUNDS):
        for kind in KINDS:
            call, registration, lost = _measure(kind)
            figures[kind]["call"].append(call)
            figures[kind]["registration"].append(registration)
            if kind == "python":
                failed += lost
    for what, goal in (("call", 1.25), ("registration", None)):
        ours, theirs = (median(figures[kind][what]) for kind in KINDS)
        table.add(
            f"CPU of Kamailio for one authenticated {what}",
            f"{ours * 1000:.3f} ms ({1 / ours:,.0f} a second and core)",
            peer=f"{theirs * 1000:.3f} ms, plain configuration",
            ratio=ours / theirs,
            goal=f"at most {goal}" if goal else "",
            met=ours / theirs <= goal if goal else None,
        )
    table.add(
        f"failed of {ROUNDS * CALLS:,} calls at {RATE}/s", str(failed), goal="0", met=not failed
    )
    _maximum(table)
    return [table]


def _measure(kind: str) -> tuple[float, float, int]:
    """CPU seconds a call and a registration, and calls lost."""
    with loopback_network() as network, switch(kind, network, USERS) as running:
        users = credentials(running.directory, network, USERS)
        before = running.kamailio.cpu()
        done = register(running, network, users, USERS * 3)
        registration = (running.kamailio.cpu() - before) / done.successful
        with answering(running, network):
            before = running.kamailio.cpu()
            done = sipp.call(calls(running, network, users, RATE, CALLS))
            call = (running.kamailio.cpu() - before) / max(1, done.successful)
        if done.successful and (errors := running.errors()):
            raise RuntimeError(f"{kind}: {len(errors)} errors, the first: {errors[0]}")
    return call, registration, done.failed


def _maximum(table: Table) -> None:
    """The highest rate without a failure, then a longer run at half of it."""
    with loopback_network() as network, switch("python", network, USERS) as running:
        users = credentials(running.directory, network, USERS)
        register(running, network, users, USERS)
        with answering(running, network):
            best = 0
            for rate in (200, 300, 400, 500, 600, 800, 1000):
                done = sipp.call(calls(running, network, users, rate, rate * 8))
                if done.failed or done.rate < 0.9 * rate:
                    break
                best = rate
            what = "highest rate without a failed call, SIPp and rtpengine on the same cores"
            table.add(what, f"{best} calls/s")
            half = best // 2
            done = sipp.call(calls(running, network, users, half, half * 40))
            table.add(
                f"failed of {half * 40:,} calls at half of it ({half}/s)",
                str(done.failed),
                goal="0",
                met=not done.failed,
            )


def credentials(directory: Path, network: str, users: int) -> Path:
    """SIPp's file of users: each calls the one half-way round."""
    path = directory / "users.csv"
    rows = [
        f"{FIRST + n};[authentication username={FIRST + n} password=x{n}];{DOMAIN};"
        f"{FIRST + (n + users // 2) % users};{network}.3:5070"
        for n in range(users)
    ]
    path.write_text("SEQUENTIAL\n" + "\n".join(rows) + "\n")
    return path


def calls(
    running: Switch, network: str, users: Path, rate: int, count: int, hold: int = 0
) -> sipp.Calls:
    """Authenticated calls from the network's fourth host, each held for ``hold`` ms."""
    return sipp.Calls(
        directory=running.directory, scenario="uac", target=running.target,
        local=f"{network}.4", users=users, rate=rate, calls=count, hold=hold,
    )  # fmt: skip


def register(running: Switch, network: str, users: Path, count: int, rate: int = 500) -> sipp.Load:
    """Registers from the address that will answer, as phones do, so that none seems behind NAT."""
    return sipp.call(
        sipp.Calls(
            directory=running.directory,
            scenario="register",
            target=running.target,
            local=f"{network}.3",
            port=5070,
            users=users,
            rate=rate,
            calls=count,
        )
    )


def answering(running: Switch, network: str) -> AbstractContextManager[Engine]:
    """SIPp answering on port 5070 of the network's third host, as a context."""
    command = [
        "sipp", "-sf", str(sipp.SCENARIOS / "uas.xml"), "-i", f"{network}.3", "-p", "5070",
        "-mi", f"{network}.3", "-nostdin", "-nd", "-buff_size", "4000000",
    ]  # fmt: skip
    return engine(command, running.directory, "uas")

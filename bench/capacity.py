"""What is held at once: 100,000 registrations, refreshed, and 10,000 calls; memory and CPU."""

from __future__ import annotations

import math
import os
import resource

from bench import sipp
from bench.processes import wait_for
from bench.results import Table
from bench.routing import answering, calls, credentials, register
from bench.switches import Switch, switch
from tests.support.hosts import loopback_network

REGISTRATIONS = int(os.environ.get("PBX_BENCH_REGISTRATIONS", "100000"))
OPEN_CALLS = int(os.environ.get("PBX_BENCH_OPEN_CALLS", "10000"))
CALLERS = 2000
RATE = 150
REGISTER_RATE = 1000
SOCKETS_A_CALL = 4
"""RTP and RTCP of two legs."""


def run() -> list[Table]:
    return [_registrations(), _open_calls()]


def _registrations() -> Table:
    table = Table(f"{REGISTRATIONS:,} registrations")
    held: dict[str, tuple[float, float, float]] = {}
    for kind in ("python", "plain"):
        with (
            loopback_network() as network,
            switch(kind, network, REGISTRATIONS, shared_memory=2048) as running,
        ):
            users = credentials(running.directory, network, REGISTRATIONS)
            empty = shared(running)
            used = []
            for _ in range(2):
                before = running.kamailio.cpu()
                done = register(running, network, users, REGISTRATIONS, rate=REGISTER_RATE)
                assert done.failed == 0, done
                used.append((running.kamailio.cpu() - before) / REGISTRATIONS)
            assert running.contacts() == REGISTRATIONS, running.contacts()
            held[kind] = (shared(running) - empty, *used)
    ours, theirs = held["python"], held["plain"]
    for name, at, unit, scale in (
        ("shared memory of the bindings", 0, "MiB", 1),
        ("CPU of a first registration", 1, "ms", 1000),
        ("CPU of a refresh", 2, "ms", 1000),
    ):
        table.add(
            name,
            f"{ours[at] * scale:.3g} {unit}",
            peer=f"{theirs[at] * scale:.3g} {unit}, plain configuration",
            ratio=ours[at] / theirs[at],
        )
    return table


def _open_calls() -> Table:
    table = Table(f"{OPEN_CALLS:,} calls held open")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # As many as this machine's limit of open files asks for, and a fifth to spare.
    servers = max(2, math.ceil(OPEN_CALLS * SOCKETS_A_CALL * 1.2 / most))
    with (
        loopback_network() as network,
        switch("python", network, CALLERS, shared_memory=2048, media_servers=servers) as running,
    ):
        users = credentials(running.directory, network, CALLERS)
        register(running, network, users, CALLERS)
        empty, before = shared(running), running.kamailio.cpu()
        hold = int(OPEN_CALLS / RATE * 1000) + 20_000
        with answering(running, network):
            held = calls(running, network, users, RATE, OPEN_CALLS, hold)
            with sipp.started(held) as done:
                wait_for(
                    lambda: running.open_calls() >= OPEN_CALLS,
                    f"{OPEN_CALLS} calls",
                    hold / 1000,
                )
                media = sum(server.memory() for server in running.media)
                memory = shared(running) - empty
                result = done()
        cpu = (running.kamailio.cpu() - before) / OPEN_CALLS
        table.add("Kamailio's shared memory for them", f"{memory:.0f} MiB")
        table.add("rtpengine's memory", f"{media:.0f} MiB on {len(running.media)} servers")
        table.add("CPU of Kamailio a call, set-up to end", f"{cpu * 1000:.2f} ms")
        lost = OPEN_CALLS - result.successful
        table.add("calls that did not end well", str(lost), goal="0", met=lost == 0)
    return table


def shared(running: Switch) -> float:
    """MiB of Kamailio's shared memory in use."""
    return int(running.rpc("core.shmmem")["used"]) / 2**20

"""Media servers join, fail and are drained, and Consul is away, while phones call; then a soak.

What is told to a Call Manager by Consul and by the managers' probes is judged by where calls go.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from pbxctl.engines.nomad.reach import CONSUL, NOMAD, Note
from tests.cluster.chaos import soak
from tests.cluster.chaos.cluster import Cluster, cluster
from tests.cluster.lab import Host
from tests.cluster.measure import Lateness
from tests.cluster.signalling import CLUSTER, ROOT, TOKEN
from tests.cluster.test_signalling import end
from tests.integration.calls.party import Call, Party, connect

JOINS, LEAVES = 5.0, 2.0
"""Seconds, of a machine that is in time."""
RELOADS = 10.0
"""Seconds in which Kamailio takes up one change of its media servers at most."""
SEED = 7
PAIRS = 6
AWAY = 5.0
"""Seconds without Consul before anything is asked of the cluster."""

Up = tuple[Call, Call]


class Balanced:
    """``second`` is a media server that runs while a test wants it; the first always does."""

    def __init__(self, made: Cluster) -> None:
        self.cluster = made
        self.second: Host = made.network["m2"]
        self.pairs: list[tuple[Party, Party]] = [
            (made.phone(str(2001 + 2 * n)), made.phone(str(2002 + 2 * n))) for n in range(PAIRS)
        ]
        self._up: list[tuple[Call, Call, tuple[Party, Party]]] = []

    def call(self) -> Up:
        """One more call, answered."""
        pair = self.pairs.pop()
        out, into = connect(*pair)
        self._up.append((out, into, pair))
        return out, into

    def hang_up(self, call: Up) -> None:
        (found,) = [each for each in self._up if each[0] is call[0]]
        end(*call)
        self._gone(found)

    def _gone(self, found: tuple[Call, Call, tuple[Party, Party]]) -> None:
        self._up.remove(found)
        for party in found[2]:
            party.heard.clear()
        self.pairs.append(found[2])

    def cut(self, call: Up) -> None:
        """Both sides are told that it is over."""
        (found,) = [each for each in self._up if each[0] is call[0]]
        for side in call:
            side.party.reply(side.party.expect("BYE", call_id=side.call_id), 200)
        self._gone(found)

    def clear(self) -> None:
        """Nobody talks, and the second media server is gone."""
        for out, into, _ in list(self._up):
            self.hang_up((out, into))
        if not self.second.on:
            self.second.power_on()
        for pid in self._media_pids(self.second):
            os.kill(pid, signal.SIGKILL)
        self.cluster.wait(self._forgotten, "m2 to be gone", 60)

    def _forgotten(self) -> bool:
        """Consul does not know of it, and so nobody looks for it any more."""
        network = self.cluster.network
        path = f"/v1/agent/service/deregister/{CLUSTER}-media-m2"
        trio.run(partial(network.ask, "m2", path, method="PUT"))
        told = [self.cluster.api(host, "/v1/failover") for host in self.cluster.managers]
        return "m2" not in self.rows("media") and all(one and not one["down"] for one in told)

    def media(self, call: Up) -> str:
        """The server that a call's audio goes through, as the VIP's holder says."""
        made, call_id = self.cluster, call[0].call_id
        assert made.holder
        holder = made.holder
        return made.wait(lambda: made.up(holder).get(call_id), call_id)["media"]

    def states(self, server: str) -> set[str]:
        """What the Call Managers take a media server for; "" where it is not known."""
        found: set[str] = set()
        for host in self.cluster.managers:
            configuration = self.cluster.api(host, "/v1/configuration")
            if configuration is not None:
                known = {each["name"]: each["state"] for each in configuration["media"]}
                found.add(known.get(server, ""))
        return found

    def until_state(self, server: str, *states: str, within: float = 60.0) -> None:
        """Every Call Manager has the server in one of these states."""
        self.cluster.wait(
            lambda: self.states(server) and self.states(server) <= set(states),
            f"{server} {' or '.join(states)}",
            within,
        )

    def start_second(self) -> None:
        """It is there and well, as Consul has it, when this returns."""
        for task in ("rtpengine", "agent"):
            self.cluster.task(self.second, "media", task)
        self.cluster.wait(self._passing, "m2 to be well", 60)

    def rows(self, role: str) -> dict[str, dict[str, Any]]:
        """What Consul has of a role, by server: tags, and the status and output of its check."""
        found = trio.run(self.cluster.network.ask_any, f"/v1/health/service/{role}?stale") or []
        return {
            each["Node"]["Node"]: {
                "tags": set(each["Service"]["Tags"]),
                "status": check["Status"],
                "output": check["Output"],
            }
            for each in found
            for check in each["Checks"]
            if check["ServiceID"]
        }

    def _passing(self) -> bool:
        found = trio.run(self.cluster.network.ask_any, "/v1/health/service/media?stale&passing")
        return any(each["Node"]["Node"] == "m2" for each in found or ())

    def _media_pids(self, host: Host, *words: bytes) -> list[int]:
        wanted = words or (b"--listen-ng", b"services.media")
        return [pid for pid in host.pids() if any(word in _line(pid) for word in wanted)]

    def kill_rtpengine(self) -> None:
        for pid in self._media_pids(self.second, b"--listen-ng"):
            os.kill(pid, signal.SIGKILL)

    def running(self) -> set[int]:
        """Every process of the Call Managers' and of the first media server's."""
        hosts = [*self.cluster.managers, self.cluster.infra]
        words = (b"services.", b"kamailio", b"--listen-ng")
        return {pid for h in hosts for pid in h.pids() if any(w in _line(pid) for w in words)}

    def pbxctl(self, *arguments: str) -> str:
        """On a Call Manager's host, where Consul runs and Nomad does not."""
        state = self.cluster.network.directory / "state"
        secrets = state / CLUSTER / "secrets"
        if not secrets.exists():
            secrets.mkdir(parents=True)
            (secrets / "admin_token").write_text(TOKEN)
            note = Note(engine="nomad", nomad=NOMAD, consul=CONSUL)
            (state / CLUSTER / "engine.json").write_bytes(msgspec.json.encode(note))
        words = [sys.executable, "-m", "pbxctl", *arguments]
        env = {"PBX_STATE_DIR": str(state), "PYTHONPATH": str(ROOT)}

        async def run() -> str:
            return (await self.cluster.managers[0].run(words, env=env, within=60)).stdout

        return trio.run(run)


def _line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # it has ended


@pytest.fixture(scope="module")
def made() -> Iterator[Cluster]:
    with cluster("m2") as found:
        yield found


@pytest.fixture(scope="module")
def _balanced(made: Cluster) -> Balanced:
    return Balanced(made)


@pytest.fixture
def balanced(_balanced: Balanced) -> Iterator[Balanced]:
    _balanced.cluster.holder = trio.run(_balanced.cluster.view.ready)
    yield _balanced
    _balanced.clear()
    assert not _balanced.cluster.failures()


def test_a_server_that_joins_takes_calls_and_nothing_restarts(balanced: Balanced) -> None:
    first = balanced.call()
    assert balanced.media(first) == "m1"
    time.sleep(RELOADS)  # what a server's joining takes while no other joins, as m1 just did
    before = balanced.running()
    balanced.start_second()
    with Lateness() as late:
        began = time.monotonic()
        while True:
            second = balanced.call()
            used, took = balanced.media(second), time.monotonic() - began
            balanced.hang_up(second)
            if used == "m2":
                break
            assert took < JOINS + late.total
    assert before <= balanced.running()


@pytest.mark.parametrize(
    "fail", [lambda b: b.second.power_off(), Balanced.kill_rtpengine], ids=["host", "rtpengine"]
)
def test_a_server_that_fails_gets_no_more_calls(
    balanced: Balanced, fail: Callable[[Balanced], None]
) -> None:
    balanced.start_second()
    balanced.until_state("m2", "up")
    first = balanced.call()
    assert balanced.media(first) == "m1"
    with Lateness() as late:
        began = time.monotonic()
        fail(balanced)
        # Calls go on being set up, wherever they would have gone.
        during = [balanced.call()]
        while balanced.states("m2") != {"down"}:
            assert time.monotonic() - began < LEAVES + late.total
            if len(during) < 3:
                during.append(balanced.call())
    for call in during:
        balanced.hang_up(call)
    for _ in range(3):
        call = balanced.call()
        assert balanced.media(call) == "m1"
        balanced.hang_up(call)


def test_the_next_holder_of_the_vip_counts_what_servers_carry(balanced: Balanced) -> None:
    balanced.start_second()
    balanced.until_state("m2", "up")
    first = balanced.call()
    assert balanced.media(first) == "m1"
    made = balanced.cluster
    dead = made.holder
    assert dead
    made.known(first[0].call_id)
    dead.power_off()
    try:
        made.wait(lambda: [h for h in made.view.holders() if h is not dead], "another holder")
        (made.holder,) = made.view.holders()
        second = balanced.call()
        assert balanced.media(second) == "m2"
        for call in (first, second):
            balanced.hang_up(call)
            made.one_record(call[0].call_id, code=200)
    finally:
        dead.power_on()


def test_consul_shows_people_a_true_picture(balanced: Balanced) -> None:
    balanced.start_second()
    holder = balanced.cluster.holder
    assert holder
    for name, row in balanced.rows("call-manager").items():
        position = "active" if name == holder.name else "standby"
        assert row["tags"] == {CLUSTER, "release-1", "capacity-10000", position}
        assert re.match(r"SIP OPTIONS \d+ ms", row["output"]), row
    for row in balanced.rows("media").values():
        assert row["tags"] == {CLUSTER, "release-1", "capacity-2500"}
        assert re.match(r"RTP echo [\d.]+ ms", row["output"]), row
    balanced.kill_rtpengine()

    def told() -> bool:
        row = balanced.rows("media")["m2"]
        return row["status"] == "critical" and "rtpengine" in row["output"]

    balanced.cluster.wait(told, "Consul to say what m2 lacks")


def test_everything_goes_on_while_consul_is_away(balanced: Balanced) -> None:
    balanced.start_second()
    balanced.until_state("m2", "up")
    network, holder = balanced.cluster.network, balanced.cluster.holder
    before = balanced.call()
    for name in network.consul:
        network.consul[name].kill()
    try:
        time.sleep(AWAY)
        calls = [balanced.call() for _ in range(3)]
        assert {balanced.media(call) for call in calls} == {"m1", "m2"}
        assert balanced.cluster.view.holders() == [holder]
        for one, other in balanced.pairs:
            one.register()
            other.register()
        for call in (before, *calls):
            balanced.hang_up(call)
            balanced.cluster.one_record(call[0].call_id, code=200)
    finally:
        for name in network.consul:
            network.start_consul(name)
    assert trio.run(balanced.cluster.view.ready) is holder
    balanced.hang_up(balanced.call())


def test_drain_tells_what_became_of_calls(balanced: Balanced) -> None:
    balanced.start_second()
    balanced.until_state("m2", "up")
    calls = [balanced.call() for _ in range(4)]
    staying = [call for call in calls if balanced.media(call) == "m1"]
    finishing, cut = (call for call in calls if balanced.media(call) == "m2")
    words = ("server", "drain", "m2", "--deadline", "4", "--reason", "new NIC", "--json")
    said: list[str] = []

    async def drain() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                trio.to_thread.run_sync, lambda: said.append(balanced.pbxctl(*words))
            )
            await trio.to_thread.run_sync(lambda: balanced.until_state("m2", "draining"))
            await trio.to_thread.run_sync(lambda: balanced.hang_up(finishing))

    trio.run(drain)
    balanced.cut(cut)
    (media,) = json.loads(said[0])["drained"]
    assert (media["handed_over"], media["finished"], media["cut"]) == (0, 1, 1)
    for call in staying:
        assert balanced.media(call) == "m1"
        balanced.hang_up(call)
    for call in calls:
        balanced.cluster.one_record(call[0].call_id)
    assert "m2 is enabled (media)" in balanced.pbxctl("server", "enable", "m2")
    assert balanced.states("m2") == {"up"}


@pytest.mark.parametrize(
    ("seconds", "every"), [(45.0, 15.0), pytest.param(120.0, 30.0, marks=pytest.mark.long)]
)
def test_calls_with_random_failures(made: Cluster, seconds: float, every: float) -> None:
    report = trio.run(soak.run, made, seconds, SEED, every)
    assert report.ended > 20, report.text()
    assert report.failures, report.text()
    assert not report.wrong(), report.text()

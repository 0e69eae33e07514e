"""Live state on three hosts: the primary is where the VIP is, and the data goes with it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
import trio

from tests.cluster.lab import Host, Lab, lab, until
from tests.cluster.managers import CLUSTER, Managers, figure, pid_of

PORT = 6380


@pytest.fixture(scope="module")
def managers() -> Iterator[Managers]:
    with lab(consul=("cm1", "cm2", "cm3")) as network:
        found = Managers(network)

        async def begin() -> None:
            await network.consul_ready()
            await hold(network, "cm1")
            found.start_role("live", ["redis", "agent"])
            await settled(found, found.hosts[0])

        trio.run(begin)
        yield found


async def hold(network: Lab, server: str) -> float:
    """Write what the VIP's lock says when ``server`` has it; when that was written."""
    value = {"member": f"call-manager/{server}", "epoch": f"{time.monotonic()}"}
    path = f"/v1/kv/pbx/{CLUSTER}/floating/vip"
    for name in network.consul:
        if network[name].on and await network.ask(name, path, method="PUT", body=value):
            return time.monotonic()
    raise AssertionError(f"nobody takes {json.dumps(value)}")


async def redis(managers: Managers, host: Host, *words: str) -> str:
    """What Redis on a host answers, empty where it does not."""
    done = await host.run(
        ["redis-cli", "-h", host.address, "-p", str(PORT), "--no-auth-warning", *words],
        env={"REDISCLI_AUTH": managers.secret("live_password")},
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else ""


async def settled(managers: Managers, primary: Host) -> None:
    """Everybody who is on follows ``primary``, in step and known to Consul."""
    on = [host for host in managers.hosts if host.on]
    assert await managers.waited("live", "primary", 1, but=[h for h in on if h is not primary])
    await managers.waited("live", "replica", len(on) - 1)

    async def in_step() -> bool:
        info = await redis(managers, primary, "info", "replication")
        return f"connected_slaves:{len(on) - 1}" in info and "lag=" in info

    await until("replicas in step", in_step, why=managers.network.logs)


async def test_registry_tells_people_what_it_is(managers: Managers) -> None:
    first, second, _ = managers.hosts

    async def told() -> bool:
        return "2 replicas" in await managers.output("live", first)

    await until("the check's output", told)
    assert (await managers.output("live", first)).startswith("primary, key written in")
    assert (await managers.output("live", second)).startswith("replica of cm1")


async def test_nobody_gets_in_without_the_password(managers: Managers) -> None:
    host = managers.hosts[0]
    words = ["redis-cli", "-h", host.address, "-p", str(PORT), "get", "x"]
    assert "NOAUTH" in (await host.run(words, check=False)).stdout


async def test_primary_follows_the_vip_and_keeps_the_data(managers: Managers) -> None:
    network = managers.network
    first, second, third = managers.hosts
    await settled(managers, first)
    for number in range(100):
        assert await redis(managers, first, "set", f"call:{number}", f"state {number}") == "OK"
    # A client of the old primary's, which waits for news: it must not wait for ever.
    client = first.start(
        ["redis-cli", "-h", first.address, "-p", str(PORT), "subscribe", "news"],
        env={"REDISCLI_AUTH": managers.secret("live_password")},
    )
    await client.says("subscribe")
    before = await redis(managers, first, "client", "list", "type", "pubsub")
    assert "cmd=subscribe" in before

    moved = await hold(network, "cm2")

    async def promoted() -> bool:
        return await redis(managers, second, "role") != "" and (
            await redis(managers, second, "set", "after", "yes") == "OK"
        )

    await until("cm2 takes writes", promoted, every=0.01, why=network.logs)
    figure("live: VIP's lock moved, writes on the new primary", time.monotonic() - moved)
    await settled(managers, second)
    assert await redis(managers, second, "get", "call:99") == "state 99"
    assert "READONLY" in await redis(managers, first, "set", "x", "y")

    async def cut() -> bool:
        after = await redis(managers, first, "client", "list", "type", "pubsub")
        return before.split()[0] not in after.split()

    await until("clients of the old primary are sent away", cut)
    client.kill()

    async def replicated() -> bool:
        return await redis(managers, third, "get", "after") == "yes"

    await until("the third follows the new one", replicated)
    await hold(network, "cm1")
    await settled(managers, first)
    assert await redis(managers, first, "get", "after") == "yes"


async def test_holder_off_and_back(managers: Managers) -> None:
    network = managers.network
    first, second, _ = managers.hosts
    await settled(managers, first)
    assert await redis(managers, first, "set", "kept", "through power-off") == "OK"
    assert await redis(managers, first, "wait", "2", "5000") == "2"
    first.power_off()
    await hold(network, "cm2")
    await settled(managers, second)
    assert await redis(managers, second, "get", "kept") == "through power-off"
    assert await redis(managers, second, "set", "kept", "and changed since") == "OK"

    first.power_on()
    await settled(managers, second)
    # What it has on its own disk is old: it takes the present primary's.
    assert await redis(managers, first, "get", "kept") == "and changed since"
    await hold(network, "cm1")
    await settled(managers, first)


async def test_killed_on_a_living_host_loses_nothing(managers: Managers) -> None:
    first, _, third = managers.hosts
    await settled(managers, first)
    assert await redis(managers, first, "set", "written", "before the kill") == "OK"
    assert await redis(managers, first, "wait", "2", "5000") == "2"
    killed = time.monotonic()
    await first.run(["kill", "-9", str(pid_of(first, "redis-server"))])

    async def back() -> bool:
        return await redis(managers, first, "get", "written") == "before the kill"

    await until("Redis is back with its data", back, every=0.05, why=managers.network.logs)
    figure("live: Redis killed, back with its data", time.monotonic() - killed)
    await settled(managers, first)
    assert await redis(managers, third, "get", "written") == "before the kill"

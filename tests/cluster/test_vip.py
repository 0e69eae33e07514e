"""The VIP on three real Call Managers: it moves when it must, to one, and only then.

Times are told with ``--log-cli-level=INFO`` and held to no goal here: machines that build are slow.
Two hosts never have the address at once, but for the kernel's second where an agent is killed or
hangs and can no longer take it away itself.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio

from tests.cluster.call_managers import CallManagers, call_managers
from tests.cluster.lab import Host, until
from tests.cluster.measure import Watch, observed

log = logging.getLogger(__name__)

KERNEL = 1.5
"""Seconds after which an address is gone that nobody refreshes; its lifetime is 1 s."""
BUSY = 10.0
Act = Callable[[CallManagers, Host, Watch], object]


@pytest.fixture(scope="module")
def managers() -> Iterator[CallManagers]:
    with call_managers() as found:
        trio.run(found.start)
        yield found


def others(managers: CallManagers, host: Host) -> list[Host]:
    return [each for each in managers.hosts if each is not host]


def told(what: str, watch: Watch) -> None:
    log.info(
        "%s: SIP away %.3f s, address away %.3f s, on two hosts %.3f s",
        *(what, watch.gap, watch.ping_gap, watch.doubled),
    )


async def moves(managers: CallManagers, what: str, fail: Act, mend: Act) -> Watch:
    """Fail the holder: another has the VIP, alone in the end; then put it right."""
    network = managers.network
    holder = await managers.ready()
    async with observed(
        network, network.vip, observer=managers.phones, hosts=managers.hosts
    ) as watch:
        await watch.settled()
        fail(managers, holder, watch)
        try:
            await managers.elsewhere(holder, watch)
            await until("one holder", lambda: _one_holder(managers, watch), why=network.logs)
            told(what, watch)
        finally:
            mend(managers, holder, watch)
    await managers.ready()
    return watch


async def _one_holder(managers: CallManagers, watch: Watch) -> bool:
    """With both addresses."""
    await trio.lowlevel.checkpoint()
    names = watch.holders
    return len(names) == 1 and managers.network.vip6 in managers.network[names[0]].addresses()


def nothing(managers: CallManagers, host: Host, watch: Watch) -> None:
    """What failed is started again by itself."""


def heal(managers: CallManagers, host: Host, watch: Watch) -> None:
    host.heal()


CLEAN: dict[str, tuple[Act, Act]] = {
    "holder powered off": (lambda _, h, w: w.power_off(h), lambda _, h, w: w.power_on(h)),
    "Kamailio killed": (lambda m, h, _: m.kill(h, "kamailio"), nothing),
    "Kamailio hung": (
        lambda m, h, _: m.signal(h, "kamailio", signal.SIGSTOP),
        lambda m, h, _: m.signal(h, "kamailio", signal.SIGCONT),
    ),
    "holder cut off both ways": (
        lambda m, h, _: h.partition(*others(m, h)),
        heal,
    ),
    "holder is not heard": (
        lambda m, h, _: h.partition(*others(m, h), direction="to"),
        heal,
    ),
    "holder hears nobody": (
        lambda m, h, _: h.partition(*others(m, h), direction="from"),
        heal,
    ),
}


@pytest.mark.parametrize("what", CLEAN)
async def test_it_moves_and_is_never_on_two(managers: CallManagers, what: str) -> None:
    watch = await moves(managers, what, *CLEAN[what])
    assert watch.doubled == 0


async def test_agent_killed(managers: CallManagers) -> None:
    watch = await moves(managers, "agent killed", lambda m, h, _: m.kill(h, "agent"), nothing)
    assert watch.doubled < KERNEL


async def test_agent_hung(managers: CallManagers) -> None:
    watch = await moves(
        managers,
        "agent hung",
        lambda m, h, _: m.signal(h, "agent", signal.SIGSTOP),
        lambda m, h, _: m.signal(h, "agent", signal.SIGCONT),
    )
    assert watch.doubled < KERNEL


@asynccontextmanager
async def stays(managers: CallManagers, what: str) -> AsyncGenerator[tuple[Host, Watch]]:
    """Whatever is done within, the VIP stays where it is, and answers in the end."""
    network = managers.network
    holder = await managers.ready()
    async with observed(
        network, network.vip, observer=managers.phones, hosts=managers.hosts
    ) as watch:
        await watch.settled()
        yield holder, watch
        assert await managers.ready() is holder, network.logs()
        told(what, watch)
        assert watch.doubled == 0


async def test_it_stays_when_consul_dies_on_the_holder(managers: CallManagers) -> None:
    network = managers.network
    async with stays(managers, "Consul killed on the holder") as (holder, watch):
        network.consul[holder.name].kill()

        async def session_is_over() -> bool:
            for host in others(managers, holder):
                found = await network.ask(host.name, "/v1/kv/pbx/acme/floating/vip")
                if found and "Session" not in found[0]:
                    return True
            return watch.holders != [holder.name]

        await until("no session", session_is_over, why=network.logs)
        await watch.recovered()
        assert watch.holders == [holder.name], network.logs()
        network.start_consul(holder.name)


async def test_it_stays_when_consul_has_no_quorum(managers: CallManagers) -> None:
    network = managers.network
    async with stays(managers, "Consul killed everywhere") as (holder, watch):
        for host in managers.hosts:
            network.consul[host.name].kill()
        await trio.sleep(3)
        await watch.recovered()
        assert watch.holders == [holder.name]
        for host in managers.hosts:
            network.start_consul(host.name)


async def test_it_stays_while_the_machine_is_busy(managers: CallManagers) -> None:
    """With more work on every processor than it can do."""
    async with stays(managers, "a busy machine") as (holder, watch):
        with busy(2 * (os.cpu_count() or 1)):
            await trio.sleep(BUSY)
        await watch.recovered()
        assert watch.holders == [holder.name], managers.network.logs()


async def test_a_planned_hand_over_goes_where_it_is_sent(managers: CallManagers) -> None:
    network = managers.network
    holder = await managers.ready()
    heir = others(managers, holder)[-1]
    async with observed(
        network, network.vip, observer=managers.phones, hosts=managers.hosts
    ) as watch:
        await watch.settled()
        answer = await managers.api(holder, "/v1/failover", body={"to": heir.name})
        await watch.recovered()
        told("handed over", watch)
        assert watch.doubled == 0
    assert answer is not None
    assert answer["holder"] == heir.name
    after = await managers.ready()
    assert after is heir, network.logs()
    health = await managers.api(after, "/health")
    assert "VIP since" in health["output"]


async def test_a_hand_over_that_cannot_be_is_refused_and_changes_nothing(
    managers: CallManagers,
) -> None:
    holder = await managers.ready()
    for to in (holder.name, "nobody"):
        assert await managers.api(holder, "/v1/failover", body={"to": to}) is None
    standby = others(managers, holder)[0]
    assert await managers.api(standby, "/v1/failover", body={"to": ""}) is None
    assert await managers.ready() is holder, managers.network.logs()


@contextmanager
def busy(count: int) -> Generator[None]:
    """So many processes that want all the time they can get."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()

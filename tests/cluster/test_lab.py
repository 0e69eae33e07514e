"""The lab itself: hosts reach each other, and what fails them does so and can be taken back."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.cluster.lab import Host, Lab, lab, reservation, until
from tests.cluster.lab.namespace import RUN

ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", 9999)); print("ready", flush=True)
while True:
    data, peer = s.recvfrom(2048); s.sendto(data, peer)
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Lab]:
    with lab(plain=("a", "b", "c")) as made:
        yield made


@pytest.fixture
async def hosts(network: Lab) -> list[Host]:
    found = list(network.hosts.values())
    for host in found:
        host.power_off()
        host.power_on()
        host.netem()
        await host.start([sys.executable, "-c", ECHO]).says("ready")
    network.heal()
    return found


async def reaches(one: Host, other: Host, *, six: bool = False, tries: int = 5) -> bool:
    """Whether one of some datagrams comes back."""
    return await lost(one, other, six=six, count=tries, first=True) < tries


async def reached(one: Host, other: Host, *, six: bool = False) -> None:
    """A datagram comes back, some time."""

    async def so() -> bool:
        return await reaches(one, other, six=six, tries=1)

    await until(f"{other} reached from {one}", so)


async def lost(
    one: Host,
    other: Host,
    *,
    six: bool = False,
    count: int,
    first: bool = False,
    patience: float = 0.4,
) -> int:
    """How many of ``count`` echoes did not come back within ``patience`` seconds.

    With ``first``, up to the first that did.
    """
    family = socket.AF_INET6 if six else socket.AF_INET
    gone = 0
    with trio.socket.from_stdlib_socket(one.socket(family)) as probe:
        for number in range(count):
            data = b"%d" % number
            with trio.move_on_after(patience) as waiting:
                try:
                    await probe.sendto(data, (other.address6 if six else other.address, 9999))
                    while await probe.recv(100) != data:
                        pass
                except OSError:
                    await trio.sleep(0.1)
                    gone += 1
                else:
                    if first:
                        break
            gone += waiting.cancelled_caught
    return gone


async def test_all_reach_each_other(hosts: list[Host]) -> None:
    a, b, c = hosts
    for one, other in ((a, b), (b, c), (c, a)):
        await reached(one, other)
        await reached(one, other, six=True)


async def test_a_host_without_power_is_gone_with_its_addresses(hosts: list[Host]) -> None:
    a, b, _ = hosts
    floating = f"{a.address.rpartition('.')[0]}.250"
    await a.run(["ip", "addr", "add", f"{floating}/24", "dev", "eth0"])
    child = "import os, time; os.fork() or os.setsid(); print('ready', flush=True); time.sleep(600)"
    process = a.start([sys.executable, "-c", child])
    await process.says("ready")
    a.power_off()
    assert a.pids() == []
    assert process.returncode == -9
    assert not await reaches(b, a)
    with pytest.raises(RuntimeError, match="is off"):
        a.start(["true"])
    a.power_on()
    assert a.addresses() == {a.address, a.address6}


async def test_what_starts_at_boot_starts_again(hosts: list[Host]) -> None:
    a, b, _ = hosts
    for process in a.processes:
        process.kill()
    await a.start([sys.executable, "-c", ECHO], boot=True, name="boot").says("ready")
    a.power_off()
    a.power_on()

    async def back() -> bool:
        return await reaches(b, a, tries=1)

    await until("the echo after power on", back)


async def test_partitions_hold_one_way_and_both(hosts: list[Host]) -> None:
    a, b, c = hosts
    a.partition(b)
    assert not await reaches(a, b)
    assert not await reaches(b, a, six=True)
    await reached(a, c)
    a.heal(b)
    await reached(a, b)
    # A datagram of a's arrives, its echo does not.
    seen = b.socket()
    seen.bind((b.address, 9998))
    seen.settimeout(10)
    a.partition(b, direction="from")
    assert not await reaches(a, b)
    with a.socket() as sender, seen:
        sender.sendto(b"one way", (b.address, 9998))
        assert seen.recv(100) == b"one way"
    a.heal()
    await reached(a, b)


async def test_a_paused_host_answers_again_when_resumed(hosts: list[Host]) -> None:
    a, b, _ = hosts
    a.pause()
    assert not await reaches(b, a)
    a.resume()
    await reached(b, a)
    a.unplug()
    assert not await reaches(b, a)
    a.plug()
    await reached(b, a)


async def test_loss_and_delay(hosts: list[Host]) -> None:
    a, b, c = hosts
    a.netem(loss=1.0)
    assert not await reaches(a, b)
    a.netem(loss=0.2)
    assert 0 < await lost(a, b, count=60) < 60
    a.netem(delay=0.1)
    await reached(a, b)
    started = time.monotonic()
    assert await lost(a, b, count=1, patience=30) == 0
    assert time.monotonic() - started >= 0.2
    a.partition(b)
    assert not await reaches(a, b)
    a.heal()
    # Large segments pass through the relay unharmed.
    server = c.socket(kind=socket.SOCK_STREAM)
    server.bind((c.address, 9997))
    server.listen()
    sent = os.urandom(1 << 20)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with trio.socket.from_stdlib_socket(a.socket(kind=socket.SOCK_STREAM)) as made:
                    await made.connect((c.address, 9997))
                    await trio.SocketStream(made).send_all(sent)

            nursery.start_soon(send)
            with trio.socket.from_stdlib_socket(server) as listener:
                accepted, _ = await listener.accept()
                got = b"".join([part async for part in trio.SocketStream(accepted)])
                accepted.close()
    assert got == sent
    a.netem()
    # What was in the relay is lost with it.
    await reached(a, b)
    assert await lost(a, b, count=3, patience=30) == 0


async def test_a_disk_is_full_and_not(hosts: list[Host]) -> None:
    disk = hosts[0].small_disk(hosts[0].directory / "small", 1)
    (disk / "before").write_bytes(b"x")
    hosts[0].disk_full(disk)
    with pytest.raises(OSError, match="No space") as refused:
        (disk / "more").write_bytes(b"x")
    assert refused.value.errno == errno.ENOSPC
    hosts[0].disk_full(disk, full=False)
    (disk / "more").write_bytes(b"x")


async def test_the_clock_steps_and_monotonic_time_does_not(hosts: list[Host]) -> None:
    show = "import time; print(time.time(), time.monotonic())"
    steppable = hosts[0].environment(clock=True)
    now = [
        float(part) for part in (await hosts[0].run([sys.executable, "-c", show])).stdout.split()
    ]
    hosts[0].clock_step(-3600)
    done = await hosts[0].run([sys.executable, "-c", show], env=steppable)
    wall, monotonic = (float(part) for part in done.stdout.split())
    assert -3600 <= wall - now[0] < -3500
    assert 0 < monotonic - now[1] < 100


def test_a_lab_whose_process_died_is_swept_away() -> None:
    program = (
        "import os, sys\n"
        "from tests.cluster.lab import lab\n"
        "with lab(plain=('x',)) as made:\n"
        "    process = made['x'].start(['sleep', '600'])\n"
        "    made['x'].small_disk(made.directory / 'x' / 'disk', 1)\n"
        "    print(made.id, process.pid, flush=True)\n"
        "    os._exit(1)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=240
    )
    number, pid = done.stdout.split()
    assert Path(f"/proc/{pid}").exists()
    with lab(plain=("y",)) as other:
        assert other.id != number
        assert not list(RUN.glob(f"pbx-{number}-*"))
        assert not Path(f"/tmp/pbx-lab-{number}").exists()
        assert not (reservation.STATE / number).exists()


async def test_consul_elects_again_and_the_dead_host_comes_back() -> None:
    with lab(consul=("cm1", "cm2", "cm3", "m1"), plain=("phones",)) as network:
        await network.consul_ready()
        leader = await network.raft_leader()
        other = next(
            host for host in network.hosts.values() if host.name in {"cm2", "cm3"} - {leader.name}
        )
        await network.transfer_leader(other)
        assert await network.raft_leader() is other
        other.power_off()
        assert await network.raft_leader() is not other
        other.power_on()
        await network.consul_ready()

"""Application servers that die, hang, leave and start anew; managers, Redis and media are real."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from pbxctl.engines.local.registry.storage import Storage
from services.core.failover.timing import OPINION
from services.core.settings import Peer
from tests.contract.registry.implementations import running
from tests.integration.succession.app_server import Place
from tests.support.redis import PORT, redis
from tests.support.waiting import until

__all__ = ["redis"]
MANAGERS = ("cm1", "cm2", "cm3")
PROJECT = Path(__file__).parents[3]
SO_TIMESTAMPNS = 35
"""socket(7): when the kernel took a packet, whoever had to wait then."""
CALLS = 12


class Phones:
    """A port for each call; who sent to it, and when (seconds of the time of day)."""

    def __init__(self, address: str, calls: int) -> None:
        self.heard: dict[str, list[tuple[float, str]]] = {}
        self.ports: dict[str, int] = {}
        self._sockets: dict[str, trio.socket.SocketType] = {}
        for number in range(calls):
            call = f"{number}@phone"
            sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self._sockets[call], self.heard[call] = sock, []
        self._address = address

    async def listen(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        for call, sock in self._sockets.items():
            await sock.bind((self._address, 0))
            self.ports[call] = sock.getsockname()[1]
        task_status.started()
        async with trio.open_nursery() as nursery:
            for call in self._sockets:
                nursery.start_soon(self._listen, call)

    async def _listen(self, call: str) -> None:
        with self._sockets[call] as sock:
            while True:
                sender: Any
                _, ancillary, _, sender = await sock.recvmsg(2048, 64)
                seconds, nanoseconds = struct.unpack("qq", bytes(ancillary[0][2]))
                self.heard[call].append((seconds + nanoseconds / 1e9, sender[0]))

    def last(self, sender: str) -> float:
        """When ``sender`` was heard last, by any."""
        return max(at for heard in self.heard.values() for at, by in heard if by == sender)

    def since(self, moment: float, sender: str) -> int:
        """Packets of ``sender`` since then."""
        return sum(
            at > moment and by == sender for heard in self.heard.values() for at, by in heard
        )

    def first(self, call: str, senders: set[str]) -> float:
        """When one of ``senders`` was heard first."""
        return min((at for at, by in self.heard[call] if by in senders), default=float("inf"))


class Process:
    """An application server; ``said`` is what it has told, as (word, value)."""

    def __init__(self, process: trio.Process, address: str) -> None:
        self.process = process
        self.address = address
        self.said: list[tuple[str, str]] = []
        self._fresh = trio.Event()

    async def listen(self) -> None:
        assert self.process.stdout is not None
        rest = b""
        async for data in self.process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                word, _, value = line.decode().partition(" ")
                self.said.append((word, value))
            self._fresh.set()

    async def tell(self, *lines: str) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all("".join(f"{line}\n" for line in lines).encode())

    async def says(self, word: str, value: str | None = None) -> None:
        """Until it has."""
        with trio.fail_after(20):
            while not any(w == word and value in (None, v) for w, v in self.said):
                self._fresh = trio.Event()
                await self._fresh.wait()

    def values(self, word: str) -> list[str]:
        return [value for said, value in self.said if said == word]


class Cluster:
    """Three managers that probe, as many application servers as are started."""

    def __init__(self, network: str, registry: str, directory: Path, nursery: trio.Nursery) -> None:
        self._network = network
        self._registry = registry
        self._directory = directory
        self._nursery = nursery
        self._stack: list[trio.Process] = []
        (directory / "cluster_key").write_text("5e" * 32)
        self._managers = tuple(
            Peer(name, f"{network}.{11 + at}") for at, name in enumerate(MANAGERS)
        )
        self.phones = Phones(f"{network}.99", CALLS)

    async def start(self) -> None:
        for manager in self._managers:
            meta = {
                "cluster": "test",
                "server": manager.name,
                "release": "1",
                "registry": self._registry,
                "address": manager.address,
                "data_dir": str(self._directory),
                "secrets_dir": str(self._directory),
                "managers": ",".join(f"{one.name}={one.address}" for one in self._managers),
            }
            environment = {f"NOMAD_META_{name.upper()}": value for name, value in meta.items()}
            environment["NOMAD_ALLOC_DIR"] = str(self._directory)
            await self._run("tests.cluster.prober", [], env={**os.environ, **environment})
        await self._nursery.start(self.phones.listen)

    async def server(self, number: int) -> Process:
        """``ivr<number>``, started."""
        address = f"{self._network}.{30 + number}"
        place = Place(
            cluster="test",
            server=f"ivr{number}",
            address=address,
            managers=self._managers,
            registry=self._registry,
            redis=(f"{self._network}.1", PORT),
            phone=f"{self._network}.99",
        )
        process = await self._run(
            "tests.integration.succession.app_server",
            [msgspec.json.encode(place).decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        server = Process(process, address)
        self._nursery.start_soon(server.listen)
        return server

    async def servers(self, count: int) -> list[Process]:
        """``ivr1`` and so on, all knowing each other; the first has all calls, written down."""
        servers = [await self.server(number) for number in range(1, count + 1)]
        for server in servers:
            names = ",".join(f"ivr{number}" for number in range(1, count + 1))
            await server.says("candidates", names)
        lines = [f"call {call} {port}" for call, port in self.phones.ports.items()]
        await servers[0].tell(*lines, "flush")
        await servers[0].says("flushed")
        await until(lambda: all(self.phones.heard.values()))
        # Whose lease has just begun takes nothing: others may still miss an earlier life of it.
        await trio.sleep(2 * OPINION)
        return servers

    async def _run(self, module: str, arguments: list[str], **how: object) -> trio.Process:
        words = [sys.executable, "-m", module, *arguments]
        process = await trio.lowlevel.open_process(words, cwd=PROJECT, **how)  # type: ignore[arg-type]
        self._stack.append(process)
        return process

    async def stop(self) -> None:
        for process in reversed(self._stack):
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
        for process in self._stack:
            await process.wait()


@pytest.fixture
async def cluster(redis: tuple[str, int], tmp_path: Path) -> AsyncIterator[Cluster]:
    network = redis[0].rpartition(".")[0]
    async with AsyncExitStack() as stack:
        storage = Storage(tmp_path / "registry.sqlite")
        stack.callback(storage.close)
        url = await stack.enter_async_context(running(storage, f"{network}.1"))
        nursery = await stack.enter_async_context(open_nursery())
        made = Cluster(network, url, tmp_path, nursery)
        stack.push_async_callback(made.stop)
        await made.start()
        yield made


@asynccontextmanager
async def open_nursery() -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


async def adopted_once(survivors: list[Process]) -> None:
    """Each call by one of them."""
    await until(lambda: sum(len(s.values("adopted")) for s in survivors) >= CALLS)
    await trio.sleep(0.5)
    calls = [call for server in survivors for call in server.values("adopted")]
    assert sorted(calls) == sorted(f"{number}@phone" for number in range(CALLS))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_who_dies_or_hangs_falls_silent_and_others_go_on(
    cluster: Cluster, how: signal.Signals
) -> None:
    dead, *survivors = await cluster.servers(3)
    phones = cluster.phones
    began = time.time()
    dead.process.send_signal(how)
    await adopted_once(survivors)
    assert all(server.values("adopted") for server in survivors)
    silent = phones.last(dead.address) - began
    heard = [phones.first(call, {s.address for s in survivors}) - began for call in phones.heard]
    assert silent < 0.3
    assert silent < min(heard)
    assert max(heard) < 2, heard
    if how == signal.SIGSTOP:
        dead.process.send_signal(signal.SIGCONT)
        again = time.time()
        await dead.says("dropped", str(CALLS))
        await trio.sleep(1)
        # At most the frame that was being made just then.
        assert phones.since(again, dead.address) <= CALLS
        assert not dead.values("adopted")


async def test_who_leaves_hands_over_before_it_goes(cluster: Cluster) -> None:
    leaver, *survivors = await cluster.servers(3)
    began = time.time()
    await leaver.tell("leave")
    await leaver.says("left", "True")
    await adopted_once(survivors)
    phones = cluster.phones
    heard = [phones.first(call, {s.address for s in survivors}) - began for call in phones.heard]
    assert max(heard) < 1, heard


async def test_who_is_alone_keeps_its_calls_and_goes_on_with_them_when_started_anew(
    cluster: Cluster,
) -> None:
    (server,) = await cluster.servers(1)
    server.process.kill()
    await server.process.wait()
    await adopted_once([await cluster.server(1)])

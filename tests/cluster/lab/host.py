"""A host: a network namespace on the lab's LAN, its processes, and what can go wrong with it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Literal

import httpx
import trio

from tests.cluster.lab import namespace
from tests.cluster.lab.clock import Clock
from tests.cluster.lab.commands import command, ip
from tests.cluster.lab.disk import SmallDisk
from tests.cluster.lab.http import client
from tests.cluster.lab.netem import Delay
from tests.cluster.lab.process import Process
from tests.cluster.lab.root import OwnRoot
from tests.cluster.lab.switch import Switch

Direction = Literal["both", "to", "from"]

# As on a call manager: an address is bound before it is there (the VIP). Hosts of a real network
# answer ARP only for the interface's own addresses and announce from them.
SYSCTLS = {
    "net.ipv4.ip_nonlocal_bind": "1",
    "net.ipv6.ip_nonlocal_bind": "1",
    "net.ipv4.conf.all.arp_ignore": "1",
    "net.ipv4.conf.all.arp_announce": "2",
    "net.ipv4.conf.all.promote_secondaries": "1",
    "net.ipv4.ping_group_range": "0 2147483647",
}

BOOTED = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
"""What a program finds in its environment: nothing of the shell that runs the tests."""


class Host:
    """``address`` and ``address6`` are on ``eth0``; ``directory`` is its disk; ``on`` its power.

    ``steppable``: everything that is started from now on has a clock that `clock_step` moves; set
    before Nomad's start, its tasks too.
    """

    interface = "eth0"

    def __init__(
        self,
        name: str,
        *,
        switch: Switch,
        namespace_name: str,
        address: str,
        address6: str,
        gateway: str,
        directory: Path,
    ) -> None:
        self.name = name
        self.address = address
        self.address6 = address6
        self.directory = directory
        self.namespace = namespace_name
        self.on = True
        self.steppable = False
        self.processes: list[Process] = []
        self._boot: list[Callable[[], object]] = []
        self._switch = switch
        self._gateway = gateway
        self._clock = Clock(directory / "clock")
        self._disks: dict[Path, SmallDisk] = {}
        self._delay: Delay | None = None
        self._root: OwnRoot | None = None
        directory.mkdir(parents=True)
        ip(f"netns add {namespace_name}")
        switch.attach(name, namespace_name)
        settings = [f"{key}={value}" for key, value in SYSCTLS.items()]
        command(*self.command(["sysctl", "-qw", *settings]))
        ip("link set lo up", "link set eth0 up", namespace=namespace_name)
        self._own_addresses()

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.address}>"

    # Running things

    def environment(self, *, clock: bool = False) -> dict[str, str]:
        """That of a host which has just booted; with ``clock``, for a wall clock that steps."""
        return dict(BOOTED) | (self._clock.environment() if clock or self.steppable else {})

    def command(self, words: Sequence[str | Path]) -> list[str]:
        """What runs ``words`` on the host, for whatever starts processes by itself."""
        inside = ["ip", "netns", "exec", self.namespace]
        return [*inside, *(self._root.command() if self._root else ()), *map(str, words)]

    def own_root(self) -> Path:
        """From now on programs see a root directory of the host's own; where it is, from outside.

        It begins as this machine's, and what they write stays on the host.
        """
        if self._root is None:
            self._root = OwnRoot(self.directory / "disk")
        return self._root.path

    def inside(self) -> AbstractContextManager[None]:
        """Sockets and child processes made in the block are the host's; no ``await`` in it."""
        return namespace.inside(self.namespace)

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        """A socket of the host's, in this process."""
        with self.inside():
            return socket.socket(family, kind)

    def http(self, base_url: str = "http://127.0.0.1:8500", **options: Any) -> httpx.AsyncClient:
        """An HTTP client on the host; its Consul by default. Literal addresses only."""
        return client(self.namespace, base_url, **options)

    async def run(
        self,
        words: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        text: str = "",
        check: bool = True,
        within: float = 240.0,
    ) -> CompletedProcess[str]:
        """Run to the end. ``env`` is added to `environment`; ``text`` is its input.

        Raises AssertionError with its output for a status other than 0, unless ``check`` is False.
        """
        line = " ".join(map(str, words))
        with trio.move_on_after(within):
            done = await trio.run_process(
                self.command(words),
                env=self.environment() | dict(env or {}),
                stdin=text.encode(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
            out, err = done.stdout.decode(), done.stderr.decode()
            if check and done.returncode:
                raise AssertionError(f"{self.name}: {line}: {done.returncode}\n{out}{err}")
            return CompletedProcess(line, done.returncode, out, err)
        raise AssertionError(f"{self.name}: {line}: not done in {within:g} s")

    def start(
        self,
        words: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        name: str = "",
        clock: bool = False,
        boot: bool = False,
        nice: int = 0,
    ) -> Process:
        """Start a program; it dies with the lab. ``env`` is added to `environment`.

        Its output goes to ``<directory>/<name>.log`` (default: the program's name and a number).
        With ``boot`` it is started again whenever the power comes back. ``nice`` is its priority.
        """
        if not self.on:
            raise RuntimeError(f"{self.name} is off")
        label = name or f"{Path(words[0]).name}-{len(self.processes)}"
        process = Process(
            self.command(words),
            self.environment(clock=clock) | dict(env or {}),
            self.directory / f"{label}.log",
            nice=nice,
        )
        self.processes.append(process)
        if boot:
            self.at_boot(lambda: self.start(words, env=env, name=label, clock=clock, nice=nice))
        return process

    def at_boot(self, what: Callable[[], object]) -> None:
        """To be done whenever the power comes back."""
        self._boot.append(what)

    def pids(self) -> list[int]:
        """Every process on the host, whoever started it."""
        return namespace.pids(self.namespace)

    def addresses(self) -> set[str]:
        """Every address on ``eth0``, without prefix lengths and link-local ones."""
        shown = command("ip", "-n", self.namespace, "-o", "addr", "show", "dev", "eth0")
        found = {line.split()[3].partition("/")[0] for line in shown.splitlines()}
        return {address for address in found if not address.startswith("fe80:")}

    # Failing things

    def power_off(self) -> None:
        """The network is gone first, so that no process says goodbye; then all are killed."""
        if not self.on:
            return
        self._switch.port(self.name, up=False)
        self.on = False
        namespace.kill_all(self.namespace)
        for process in self.processes:
            process.kill()
        # What was in memory is lost with the power: floating addresses first of all.
        ip("addr flush dev eth0", "neigh flush all", namespace=self.namespace)

    def power_on(self) -> None:
        """Own addresses, link, then what is started at boot (Consul and Nomad, if it has them)."""
        if self.on:
            return
        self._own_addresses()
        self._switch.port(self.name, up=True)
        self.on = True
        for what in self._boot:
            what()

    def unplug(self) -> None:
        """Pull the cable: the carrier is gone, processes go on."""
        self._switch.port(self.name, up=False)

    def plug(self) -> None:
        self._switch.port(self.name, up=True)

    def pause(self) -> None:
        """SIGSTOP to every process: the kernel answers ARP and ICMP, nobody else answers."""
        namespace.signal_all(self.namespace, signal.SIGSTOP)

    def resume(self) -> None:
        namespace.signal_all(self.namespace, signal.SIGCONT)

    def partition(self, *others: Host, direction: Direction = "both") -> None:
        """Lose every frame ``to``, or ``from``, the others; all of it added to what is cut."""
        for other in others:
            self._switch.cuts |= _pairs(self.name, other.name, direction)
        self._switch.enforce()

    def heal(self, *others: Host) -> None:
        """End partitions with the others; with none named, all that this host has part in."""
        names = {other.name for other in others}
        self._switch.cuts = {
            (a, b)
            for a, b in self._switch.cuts
            if self.name not in (a, b) or (names and not names & {a, b})
        }
        self._switch.enforce()

    def netem(self, *, delay: float = 0.0, jitter: float = 0.0, loss: float = 0.0) -> None:
        """Of everything the host sends and gets: seconds each way, and the share (0 to 1) lost.

        Replaces what was set before; with no argument the network is good again. Loss is the
        kernel's work; delay is done by a process of the lab's (test machines' kernels often lack
        sch_netem), good for some thousand packets a second.
        """
        if loss:
            self._switch.losses[self.name] = loss
        else:
            self._switch.losses.pop(self.name, None)
        self._switch.enforce()
        if self._delay is not None:
            self._delay.end()
            self._delay = None
        if delay or jitter:
            self._delay = Delay(self._switch, self.name, delay, jitter)

    def small_disk(self, directory: Path, mebibytes: int = 64) -> Path:
        """Put a small file system of its own at a directory of the host's; it starts empty."""
        self._disks[directory] = SmallDisk(directory, mebibytes)
        return directory

    def disk_full(self, directory: Path, *, full: bool = True) -> None:
        """Fill a `small_disk` to the last byte, or give the room back."""
        self._disks[directory].fill(full)

    def clock_step(self, seconds: float) -> None:
        """Step the wall clock, from where it is, of processes that were started for it: with
        ``clock=True``, or while the host was ``steppable``.

        Only for programs linked with the C library (Kamailio, rtpengine, PostgreSQL, Redis,
        Python); Go's read the clock by themselves. Monotonic clocks stay.
        """
        self._clock.step(seconds)

    def close(self) -> None:
        """Kill and collect all of it; the namespace is left to `Reservation.end`."""
        namespace.kill_all(self.namespace)
        for process in self.processes:
            process.kill()
        if self._delay is not None:
            self._delay.end()

    def _own_addresses(self) -> None:
        ip(
            f"addr replace {self.address}/24 dev eth0",
            f"addr replace {self.address6}/64 dev eth0 nodad",
            f"route replace default via {self._gateway} dev eth0",
            namespace=self.namespace,
        )


def _pairs(one: str, other: str, direction: Direction) -> set[tuple[str, str]]:
    to, back = (one, other), (other, one)
    return {"both": {to, back}, "to": {to}, "from": {back}}[direction]

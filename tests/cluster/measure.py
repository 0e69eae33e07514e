"""What a failure does to an address: how long nobody answers on it, and how long two have it.

    async with observed(network, network.vip, observer=network["phones"]) as watch:
        await watch.settled()
        watch.power_off(network["cm1"])
        await watch.recovered()
    watch.gap          # s without an answer to a SIP OPTIONS, as a phone sees it
    watch.ping_gap     # the same for ICMP echo: the address alone
    watch.doubled      # s in which two hosts had the address

The observer is a host of its own; its clock is the test's.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager, suppress
from itertools import pairwise
from typing import Self

import trio

from tests.cluster.lab import Host, Lab, until

EVERY = 0.01
"""Seconds between two questions: the resolution of a gap."""
SOURCES = 25
"""Addresses that the OPTIONS come from: no source is to meet a limit of the Call Manager's."""
FIRST_SOURCE = 200
LATE = 0.2
"""Seconds in which an answer may come."""
CALM = 0.5
"""Seconds of answers, one to every question but a few, that count as recovered."""

_RTM_NEWADDR, _RTM_DELADDR = 20, 21
_GROUPS = 0x10 | 0x100  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR


class Asked:
    """Questions sent every 10 ms from a thread, and which of them were answered."""

    def __init__(self, ask: Callable[[int], None], heard: Callable[[], int | None]) -> None:
        self._ask, self._heard = ask, heard
        self._sent: dict[int, float] = {}
        self._answered: list[float] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)

    def gap(self, since: float) -> float:
        """The longest time between two answered questions from ``since`` on, less the usual."""
        # What fails at once after ``since`` leaves no answer between.
        times = sorted([since, *(when for when in list(self._answered) if when > since)])
        return max((b - a for a, b in pairwise(times)), default=0.0) - EVERY

    def well(self, seconds: float) -> bool:
        """Whether about all questions of the last ``seconds`` were answered."""
        now = time.monotonic()
        window = [now - seconds - LATE, now - LATE]
        sent = sum(window[0] < when < window[1] for when in list(self._sent.values()))
        answered = sum(window[0] < when < window[1] for when in list(self._answered))
        return sent > 0 and answered >= 0.9 * sent

    def _send(self) -> None:
        number = 0
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            number += 1
            self._sent[number] = time.monotonic()
            with suppress(OSError):  # nobody has the address
                self._ask(number)
            due = max(due + EVERY, time.monotonic() - 5 * EVERY)

    def _receive(self) -> None:
        while not self._stop.is_set():
            try:
                number = self._heard()
            except OSError:
                continue
            if number in self._sent:
                self._answered.append(self._sent[number])


class Lateness:
    """How long this machine kept a thread from running that wanted to, in all. Context manager."""

    def __init__(self) -> None:
        self.total = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            due = time.monotonic() + EVERY
            if self._stop.wait(EVERY):
                return
            self.total += max(0.0, time.monotonic() - due)


class Watch:
    """See the module. Gaps count from the last `settled`."""

    def __init__(self, network: Lab, address: str, observer: Host, hosts: Iterable[Host]) -> None:
        self._network = network
        self._stack = ExitStack()
        self._since = time.monotonic()
        self._has: dict[str, list[tuple[float, bool]]] = {}
        self._off: set[str] = set()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        for host in hosts:
            self._follow(host, address)
        self._pings = self._ping(observer, address)
        self._options = self._sip(observer, address)

    async def settled(self, *, within: float = 120.0) -> None:
        """Everything answers; what is measured begins now."""
        await self.recovered(within=within)
        self._since = time.monotonic()

    async def recovered(self, *, within: float = 120.0) -> None:
        """SIP is answered on the address, and has been for `CALM` s from now on."""
        begins = time.monotonic() + CALM + LATE

        async def well() -> bool:
            await trio.lowlevel.checkpoint()
            calm = self._options.well(CALM) and self._pings.well(CALM)
            return calm and time.monotonic() > begins

        await until(
            "answers on the address", well, within=within, every=0.05, why=self._network.logs
        )

    def power_off(self, host: Host) -> None:
        """As `Host.power_off`. What its kernel still has then is on no wire, and counts no more."""
        self._off.add(host.name)
        self._has[host.name].append((time.monotonic(), False))
        host.power_off()

    def power_on(self, host: Host) -> None:
        self._off.discard(host.name)
        host.power_on()

    @property
    def gap(self) -> float:
        return self._options.gap(self._since)

    @property
    def ping_gap(self) -> float:
        return self._pings.gap(self._since)

    @property
    def doubled(self) -> float:
        """Seconds in which more than one host had the address on an interface."""
        changes = sorted(
            (when, host, has) for host, seen in self._has.items() for when, has in list(seen)
        )
        having: set[str] = set()
        total, before = 0.0, self._since
        for when, host, has in changes:
            if len(having) > 1 and when > self._since:
                total += when - max(before, self._since)
            before = when
            (having.add if has else having.discard)(host)
        if len(having) > 1:
            total += time.monotonic() - max(before, self._since)
        return total

    @property
    def holders(self) -> list[str]:
        """The hosts that have the address now."""
        return [host for host, seen in self._has.items() if seen and seen[-1][1]]

    def close(self) -> None:
        self._stop.set()
        self._options.close()
        self._pings.close()
        for thread in self._threads:
            thread.join(5)
        self._stack.close()

    def _follow(self, host: Host, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        packed = socket.inet_pton(family, address)
        own = self._stack.enter_context(host.socket(socket.AF_NETLINK, socket.SOCK_RAW))
        own.bind((0, _GROUPS))
        own.settimeout(0.2)
        seen = self._has[host.name] = [(time.monotonic(), address in host.addresses())]

        def follow() -> None:
            while not self._stop.is_set():
                try:
                    data = own.recv(65536)
                except TimeoutError:
                    continue
                when = time.monotonic()
                while len(data) >= 16:
                    length, kind = struct.unpack_from("=IH", data)
                    if kind in (_RTM_NEWADDR, _RTM_DELADDR) and packed in data[:length]:
                        has = kind == _RTM_NEWADDR
                        if seen[-1][1] != has and host.name not in self._off:
                            seen.append((when, has))
                    data = data[(length + 3) & ~3 :]

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _ping(self, observer: Host, address: str) -> Asked:
        with observer.inside():
            own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        self._stack.enter_context(own)
        own.settimeout(0.2)

        def ask(number: int) -> None:
            own.sendto(struct.pack("!BBHHHI", 8, 0, 0, 0, number & 0xFFFF, number), (address, 0))

        def heard() -> int | None:
            data = own.recv(1500)
            return struct.unpack_from("!I", data, 8)[0] if len(data) >= 12 else None

        return Asked(ask, heard)

    def _sip(self, observer: Host, address: str) -> Asked:
        sources = [self._network.address(FIRST_SOURCE + n) for n in range(SOURCES)]
        sockets: list[socket.socket] = []
        for source in sources:
            if source not in observer.addresses():
                _add(observer, source)
            own = self._stack.enter_context(observer.socket())
            own.bind((source, 0))
            own.setblocking(False)
            sockets.append(own)

        def ask(number: int) -> None:
            own = sockets[number % SOURCES]
            source, port = own.getsockname()
            own.sendto(_options(address, source, port, number), (address, 5060))

        def heard() -> int | None:
            ready, _, _ = select.select(sockets, [], [], 0.2)
            for own in ready:
                data = own.recv(65535)
                start = data.find(b"branch=z9hG4bK-m")
                if data.startswith(b"SIP/2.0 200") and start >= 0:
                    return int(data[start + 16 :].split(b"-", 1)[0])
            return None

        return Asked(ask, heard)


@asynccontextmanager
async def observed(
    network: Lab, address: str, *, observer: Host, hosts: Iterable[Host] = ()
) -> AsyncIterator[Watch]:
    """Watch ``address`` from ``observer``; ``hosts`` may have it, by default all others."""
    watched = list(hosts) or [host for host in network.hosts.values() if host is not observer]
    watch = Watch(network, address, observer, watched)
    try:
        yield watch
    finally:
        await trio.to_thread.run_sync(watch.close)


def _add(host: Host, address: str) -> None:
    from tests.cluster.lab.commands import ip

    ip(f"addr replace {address}/24 dev eth0", namespace=host.namespace)


def _options(address: str, source: str, port: int, number: int) -> bytes:
    lines = (
        f"OPTIONS sip:{address}:5060 SIP/2.0",
        f"Via: SIP/2.0/UDP {source}:{port};branch=z9hG4bK-m{number}-{port};rport",
        f"From: <sip:observer@{source}>;tag=m{number}",
        f"To: <sip:{address}>",
        f"Call-ID: m{number}-{port}@{source}",
        "CSeq: 1 OPTIONS",
        "Max-Forwards: 70",
        "Content-Length: 0",
        "",
        "",
    )
    return "\r\n".join(lines).encode()

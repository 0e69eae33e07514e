"""The same by keepalived: VRRP (RFC 5798) with adverts every 100 ms, for comparison."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import trio

from tests.cluster.chaos.figures import Trial
from tests.cluster.chaos.media import Pinged, pinged
from tests.cluster.lab import Host, Lab, lab, until

NAMES = ("k1", "k2", "k3")
OFF = "keepalived, holder powered off"
CONFIGURATION = """\
global_defs {{
    router_id {name}
    vrrp_version 3
    vrrp_rt_priority 50
}}
vrrp_instance vip {{
    state BACKUP
    nopreempt
    interface eth0
    virtual_router_id 51
    priority {priority}
    advert_int 0.1
    virtual_ipaddress {{
        {vip}/24 dev eth0
    }}
}}
"""
"""With real-time priority, as our agents have it."""


class Vrrp:
    """``hosts`` run keepalived, started again with the power."""

    def __init__(self, network: Lab) -> None:
        self.network = network
        self.hosts = [network[name] for name in NAMES]

    def start(self) -> None:
        program = shutil.which("keepalived", path="/usr/sbin:/usr/bin")
        if program is None:
            raise RuntimeError("keepalived is not installed: make system")
        for number, host in enumerate(self.hosts):
            values = {"name": host.name, "priority": 150 - 10 * number, "vip": self.network.vip}
            (host.directory / "keepalived.conf").write_text(CONFIGURATION.format(**values))
            self._boot(program, host)
            host.at_boot(partial(self._boot, program, host))

    def _boot(self, program: str, host: Host) -> None:
        root = host.directory
        own, vrrp_ = root / "keepalived.pid", root / "vrrp.pid"
        for path in (own, vrrp_):
            path.unlink(missing_ok=True)  # /run is empty after a power-off
        options = ["--dont-fork", "--log-console", "--vrrp", "-f", root / "keepalived.conf"]
        host.start([program, *options, "-p", own, "-r", vrrp_], name="keepalived")

    async def holder(self) -> Host:
        """Waited for, alone."""

        async def one() -> Host | None:
            await trio.lowlevel.checkpoint()
            found = [host for host in self.hosts if self.network.vip in host.addresses()]
            return found[0] if len(found) == 1 else None

        found = await until("one holder", one, why=self.network.logs)
        assert found is not None
        return found

    async def trial(self, what: str) -> list[Trial]:
        """The holder's power off, and on again."""
        network = self.network
        holder = await self.holder()
        async with pinged(
            network, network.vip, observer=network["phones"], hosts=self.hosts
        ) as watch:
            await watch.settled()
            watch.power_off(holder)
            await self._moved(watch, holder)
            gap = watch.ping_gap
            watch.power_on(holder)
            # Until the one that came back has heard the others.
            await trio.sleep(2)
            await watch.recovered()
            return [Trial(failure=what, gap=gap, doubled=watch.doubled)]

    async def mend(self) -> None:
        """After a trial that broke off."""
        for host in self.hosts:
            host.power_on()
        await self.holder()

    async def _moved(self, watch: Pinged, holder: Host) -> None:
        async def moved() -> bool:
            await trio.lowlevel.checkpoint()
            return bool(watch.holders) and watch.holders != [holder.name]

        await until("another holder", moved, why=self.network.logs)
        await watch.recovered()


@contextmanager
def vrrp() -> Iterator[Vrrp]:
    """Three hosts with it, and one that looks on."""
    with lab(plain=(*NAMES, "phones")) as network:
        made = Vrrp(network)
        made.start()
        yield made

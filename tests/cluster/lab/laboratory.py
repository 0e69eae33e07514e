"""The lab: hosts, the switch between them, and what one waits for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from tests.cluster.lab import engines
from tests.cluster.lab.commands import ip
from tests.cluster.lab.consul import ConsulView
from tests.cluster.lab.host import Host
from tests.cluster.lab.process import Process
from tests.cluster.lab.reservation import Reservation, reserve
from tests.cluster.lab.switch import Switch


class Lab(ConsulView):
    """Made by `lab`. ``hosts`` by name; ``lab["cm1"]`` is one of them.

    ``network`` is the first three numbers of every address and ``network6`` the beginning of every
    IPv6 one, so that a test can take further addresses: hosts have .1 on, ``vip`` is .250, and
    ``address(n)`` any other up to .249.
    """

    def __init__(self, reservation: Reservation) -> None:
        self.id = reservation.id
        self.directory = reservation.directory
        self.network = reservation.network
        self.network6 = reservation.network6
        self.vip = self.address(250)
        self.vip6 = self.address6(250)
        self.hosts: dict[str, Host] = {}
        self.consul: dict[str, Process] = {}
        self.nomad: dict[str, Process] = {}
        self.consul_servers: dict[str, str] = {}
        self.nomad_servers: dict[str, str] = {}
        self._prefix = reservation.prefix
        self.switch = Switch(f"{reservation.prefix}lan")
        ip(
            f"addr add {self.address(254)}/24 dev lan",
            f"addr add {self.address6(254)}/64 dev lan nodad",
            namespace=self.switch.namespace,
        )

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def address(self, number: int) -> str:
        return f"{self.network}.{number}"

    def address6(self, number: int) -> str:
        return f"{self.network6}:{number:x}"

    def add(self, name: str) -> Host:
        """A new host, with power and nothing on it; its name has at most 13 characters."""
        if name in self.hosts or name == "lan" or len(name) > 13:
            raise ValueError(f"{name}: taken, or longer than 13 characters")
        number = len(self.hosts) + 1
        self.hosts[name] = Host(
            name,
            switch=self.switch,
            namespace_name=f"{self._prefix}{name}",
            address=self.address(number),
            address6=self.address6(number),
            gateway=self.address(254),
            directory=self.directory / name,
        )
        return self.hosts[name]

    def start_consul(self, name: str) -> Process:
        """A host's agent again, after it was killed; `Host.power_on` does it too."""
        self.consul[name] = engines.start_consul(self.hosts[name], self.consul_servers)
        return self.consul[name]

    def start_nomad(self, name: str) -> Process:
        """As `start_consul`. Tasks outlive an agent, and the new one takes them over."""
        self.nomad[name] = engines.start_nomad(self.hosts[name], self.nomad_servers)
        return self.nomad[name]

    def install(self, *, consul: Sequence[str], nomad: Sequence[str]) -> None:
        """Start agents on hosts, and again whenever their power comes back."""
        self.consul_servers = self.servers_of(consul)
        self.nomad_servers = self.servers_of(nomad)
        for names, start in ((consul, self.start_consul), (nomad, self.start_nomad)):
            for name in names:
                start(name)
                self.hosts[name].at_boot(partial(start, name))

    def heal(self) -> None:
        """End every partition."""
        self.switch.cuts.clear()
        self.switch.enforce()

    def logs(self, lines: int = 30) -> str:
        """The end of what every process of every host wrote."""
        parts: list[str] = []
        for path in sorted(self.directory.glob("*/*.log")):
            tail = path.read_text(errors="replace").splitlines()[-lines:]
            parts += [f"== {path.relative_to(self.directory)}", *tail]
        return "\n".join(parts)


@contextmanager
def lab(
    *,
    consul: Sequence[str] = (),
    nomad: Sequence[str] = (),
    plain: Sequence[str] = (),
    steppable: bool = False,
) -> Iterator[Lab]:
    """A lab, gone afterwards with all that ran in it, whatever happens.

    ``consul``: hosts with a Consul agent; ``nomad``: with both, so they need not be named twice. Of
    each the first three are servers, or the first one where there are fewer. ``plain``: hosts with
    neither, for phones and observers. ``steppable``: see `Host`. Needs root.
    Agents are started, not waited for: see `Lab.consul_ready` and `Lab.nomad_ready`.
    """
    with_consul = [*consul, *(name for name in nomad if name not in consul)]
    if with_consul:
        engines.program("consul")
    if nomad:
        engines.program("nomad")
    reservation = reserve()
    made: Lab | None = None
    try:
        made = Lab(reservation)
        for name in (*with_consul, *(name for name in plain if name not in with_consul)):
            made.add(name).steppable = steppable
        made.install(consul=with_consul, nomad=nomad)
        yield made
    finally:
        try:
            for host in made.hosts.values() if made else ():
                host.close()
        finally:
            reservation.end()

"""Three Call Managers that move the VIP themselves, with a database, a media server and phones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import trio

from services.core.configuration import encode
from tests.cluster.call_managers import NAMES, CallManagers
from tests.cluster.lab import Host, Lab, lab
from tests.cluster.signalling import Signalling
from tests.support.kamailio import user

EXTENSIONS = tuple(str(2000 + n) for n in range(1, 61))


class Cluster(Signalling):
    """`Signalling` where nobody moves the VIP by hand. ``view`` sees and fails Call Managers."""

    def __init__(self, network: Lab) -> None:
        super().__init__(network)
        self.managers = [network[name] for name in NAMES]
        self.view = CallManagers(network)

    def manager_environment(self, host: Host) -> dict[str, str]:
        moved = {"NOMAD_META_VIP_PREFIX": "24", "NOMAD_META_VIP6": f"{self.network.vip6}/64"}
        return super().manager_environment(host) | moved

    def start(self) -> None:
        super().start()
        found = b"".join(encode(user(name, permission="national")) + b"\n" for name in EXTENSIONS)
        # Whoever writes users has them at once; the others only a little later.
        for host in self.managers:
            assert self.api(host, "/v1/tenants/sales/users", "PUT", found), host

    def start_manager(self, host: Host) -> None:
        """Tasks are started again a second after their end, and at each boot, as a job says."""
        self._boot(host)
        host.at_boot(partial(self._boot, host))

    def _boot(self, host: Host) -> None:
        for task in ("agent", "kamailio"):
            once = f"{sys.executable} -m services.call_manager {task}"
            words = ["sh", "-c", f"while :; do {once}; sleep 1; done"]
            name = f"call_manager-{task}"
            host.start(words, env=self.manager_environment(host), name=name)

    def take(self, host: Host) -> None:  # noqa: ARG002 # the base class's
        """Wait for who has the VIP: that is not ours to say."""
        self.holder = trio.run(self.view.ready)


@contextmanager
def cluster(*more: str) -> Iterator[Cluster]:
    """One that runs, and is gone afterwards. ``more`` hosts have a Consul agent."""
    with lab(consul=(*NAMES, "m1", *more), plain=("phones",)) as network:
        made = Cluster(network)
        made.start()
        try:
            yield made
        finally:
            made.hang_up_all()

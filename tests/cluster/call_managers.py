"""Whole Call Managers on a lab's hosts: agent and Kamailio, started again as a job would."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from services.call_manager.settings import CallManagerSettings
from tests.cluster.lab import Host, Lab, Process, lab, until
from tests.cluster.lab.namespace import pids
from tests.cluster.measure import Watch
from tests.integration.agent.lab import environment

ROOT = Path(__file__).parents[2]
CLUSTER = "acme"
NAMES = ("cm1", "cm2", "cm3")
TOKEN = "token-of-the-test"


class CallManagers:
    """``network`` also has the host ``phones``."""

    def __init__(self, network: Lab, names: Sequence[str] = NAMES) -> None:
        self.network = network
        self.hosts = [network[name] for name in names]
        self.phones = network["phones"]
        self._tasks: dict[tuple[str, str], Process] = {}
        for host in self.hosts:
            secrets = host.directory / "secrets"
            secrets.mkdir()
            (secrets / "cluster_key").write_text("5e" * 32)
            (secrets / "admin_token").write_text(TOKEN)

    def settings(self, host: Host) -> CallManagerSettings:
        root = host.directory
        (root / "run").mkdir(exist_ok=True)
        return CallManagerSettings(
            cluster=CLUSTER,
            server=host.name,
            release="1",
            registry="http://127.0.0.1:8500",
            address=host.address,
            vip=self.network.vip,
            vip_prefix=24,
            vip6=f"{self.network.vip6}/64",
            managers=",".join(f"{each.name}={each.address}" for each in self.hosts),
            data_dir=root / "data",
            run_dir=root / "run",
            secrets_dir=root / "secrets",
            database_url=f"sqlite:///{root}/data/pbx.db",
            workers=2,
            shared_memory=64,
        )

    async def start(self) -> None:
        """All of them, up and with a holder."""
        await self.network.consul_ready()
        for host in self.hosts:
            words = [sys.executable, "-m", "services.call_manager", "prepare"]
            await host.run(words, env=self._environment(host))
            self._boot(host)
            host.at_boot(lambda host=host: self._boot(host))
        await self.ready()

    def _boot(self, host: Host) -> None:
        for task in ("kamailio", "agent"):
            self.start_task(host, task)

    def start_task(self, host: Host, task: str) -> None:
        """Start a task, and again a second after its end."""
        once = f"{sys.executable} -m services.call_manager {task}"
        words = ["sh", "-c", f"while :; do {once}; sleep 1; done"]
        self._tasks[host.name, task] = host.start(
            words, env=self._environment(host), name=f"{task}"
        )

    def _environment(self, host: Host) -> dict[str, str]:
        return environment(self.settings(host)) | {"PYTHONPATH": str(ROOT)}

    async def ready(self, *, within: float = 300.0) -> Host:
        """Every Call Manager passes and one has the VIP; that one, and Raft's leader is another."""

        async def well() -> Host | None:
            found = await self.network.ask_any("/v1/health/service/call-manager") or []
            passing = {
                each["Node"]["Node"]
                for each in found
                if all(check["Status"] != "critical" for check in each["Checks"])
            }
            active = [each for each in found if "active" in each["Service"]["Tags"]]
            if passing != {host.name for host in self.hosts} or len(active) != 1:
                return None
            holder = self.network[active[0]["Node"]["Node"]]
            others = [
                await self.api(host, "/v1/failover") for host in self.hosts if host is not holder
            ]
            known = all(one and one["holder"] == holder.name and not one["down"] for one in others)
            return holder if known and self.holders() == [holder] else None

        await self.network.consul_ready(within=within)
        holder = await until("every Call Manager", well, within=within, why=self.network.logs)
        assert holder is not None

        async def apart() -> bool:
            alone = len(self.hosts) == 1
            return alone or await self.network.raft_leader() is not holder

        await until("leaderships apart", apart, within=120, every=0.3, why=self.network.logs)
        return holder

    def holders(self) -> list[Host]:
        """The hosts that have the VIP on an interface."""
        return [host for host in self.hosts if self.network.vip in host.addresses()]

    async def api(self, host: Host, path: str, *, body: Any = None) -> Any:
        """The decoded answer of a host's admin API; None if there is none or it refuses."""
        url = f"http://{host.address}:7080"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with host.http(url, headers=headers, timeout=5.0) as client:
            try:
                answer = await client.request(
                    "POST" if body is not None else "GET", path, json=body
                )
                return answer.json() if answer.is_success else None
            except (httpx.HTTPError, json.JSONDecodeError):
                return None

    def signal(self, host: Host, task: str, number: int) -> None:
        """To every process of ``agent`` or ``kamailio``."""
        words = {"agent": b"services.call_manager\0agent", "kamailio": b"kamailio\0-DD"}[task]
        for pid in pids(host.namespace):
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                if words in line and not line.startswith(b"sh\0"):
                    os.kill(pid, number)

    def kill(self, host: Host, task: str) -> None:
        self.signal(host, task, signal.SIGKILL)

    async def elsewhere(self, holder: Host, watch: Watch, *, within: float = 120.0) -> Host:
        """Wait until another has the VIP and SIP is answered there; who it is."""

        async def moved() -> Host | None:
            found = [host for host in self.holders() if host is not holder]
            return found[0] if found else None

        heir = await until("another holder", moved, within=within, why=self.network.logs)
        assert heir is not None
        await watch.recovered(within=within)
        return heir


@contextmanager
def call_managers(names: Sequence[str] = NAMES) -> Iterator[CallManagers]:
    """A lab with these of them; `CallManagers.start` starts them."""
    with lab(consul=names, plain=("phones",)) as network:
        yield CallManagers(network, names)

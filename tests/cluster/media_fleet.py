"""Media servers with floating addresses on a lab's hosts, and the managers that watch them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from services.core.configuration import prefix
from services.core.vip import holder_of
from tests.cluster.lab import Host, Lab, Process, lab, until
from tests.cluster.lab.namespace import pids
from tests.cluster.rtp import Control

CLUSTER = "fleet"
TOKEN = "token-of-the-test"
PROJECT = Path(__file__).parents[2]
PYTHON = sys.executable
REDIS = 6380
ADMIN = 7081


class Fleet:
    """``servers`` by name; each one's own address is ``address(name)``, its home ``home(name)``."""

    def __init__(self, network: Lab, managers: Sequence[str], media: Sequence[str]) -> None:
        self.network = network
        self.managers = [network[name] for name in managers]
        self.servers = {name: network[name] for name in media}
        self.phones = network["phones"]
        self._numbers = {name: 120 + index for index, name in enumerate(media)}
        self._tasks: dict[tuple[str, str], Process] = {}
        self.redis_process: Process | None = None
        for host in [*self.managers, *self.servers.values()]:
            secrets = host.directory / "secrets"
            secrets.mkdir(mode=0o700)
            (secrets / "cluster_key").write_text("5e" * 32)
            (secrets / "admin_token").write_text(TOKEN)

    def address(self, server: str) -> str:
        """Where phones send RTP for a server's calls, wherever that is served."""
        return self.network.address(self._numbers[server])

    def home(self, server: str) -> str:
        """The name of that address."""
        return self.address(server).replace(".", "-")

    def environment(self, host: Host, role: str) -> dict[str, str]:
        """A job's meta."""
        run = host.directory / "run" / role
        run.mkdir(parents=True, exist_ok=True)
        meta = {
            "cluster": CLUSTER,
            "server": host.name,
            "release": "1",
            "registry": "http://127.0.0.1:8500",
            "address": host.address,
            "data_dir": str(host.directory / "data" / role),
            "secrets_dir": str(host.directory / "secrets"),
            "managers": ",".join(f"{each.name}={each.address}" for each in self.managers),
        }
        if host.name in self.servers:
            pool = [f"{self.home(name)}={self.address(name)}" for name in self.servers]
            meta |= {
                "media_address": self.address(host.name),
                "media_addresses": ",".join(pool),
                "media_prefix": "24",
                "live": f"{self.managers[0].address}:{REDIS}",
                "recordings_dir": str(host.directory / "recordings"),
                "capacity": "100",
            }
        return {"NOMAD_ALLOC_DIR": str(run), "PYTHONPATH": str(PROJECT)} | {
            f"NOMAD_META_{name.upper()}": value for name, value in meta.items()
        }

    def _start(self, host: Host, module: str, *arguments: str) -> None:
        """Started again a second after its end, as a job says, and at each boot."""
        once = " ".join([PYTHON, "-m", module, *arguments])
        words = ["sh", "-c", f"while :; do {once}; sleep 1; done"]
        name = "-".join([module.rpartition(".")[2], *arguments])
        host.start(words, env=self.environment(host, module), name=name, boot=True)

    def start(self) -> None:
        """Everything."""
        self.start_redis()
        for host in self.managers:
            self._start(host, "tests.cluster.prober")
        for host in self.servers.values():
            self._start(host, "services.media", "agent")
            self._start(host, "services.media", "rtpengine")

    def start_redis(self) -> None:
        """An empty Redis."""
        host = self.managers[0]
        bind = ["--bind", host.address, "--port", str(REDIS)]
        words = ["redis-server", *bind, "--save", "", "--protected-mode", "no"]
        self.redis_process = host.start(words, name="redis")

    def pid(self, server: str, program: str) -> int:
        """A process of a media server's: ``agent`` or ``rtpengine``."""
        wanted = {"agent": "services.media agent", "rtpengine": "--listen-ng"}[program]
        for pid in sorted(pids(self.servers[server].namespace)):
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if wanted in line and not line.startswith("sh -c"):
                return pid
        raise AssertionError(f"no {program} runs on {server}")

    def control(self, server: str) -> Control:
        """A Call Manager's commands to a server's rtpengine."""
        return Control(self.phones, self.servers[server].address)

    async def holder(self, server: str) -> str:
        """Who has a server's address, as the registry says; empty where nobody has."""
        key = f"/v1/kv/pbx/{CLUSTER}/floating/media/{self.home(server)}?raw&stale"
        for host in self.managers:
            if not host.on:
                continue
            async with host.http(timeout=2.0) as client:
                try:
                    answer = await client.get(key)
                except httpx.HTTPError:
                    continue
                if answer.is_success:
                    return holder_of(answer.content)
        return ""

    async def passing(self) -> set[str]:
        """The servers whose checks pass."""
        rows = await self.network.ask_any("/v1/health/service/media?passing&stale") or []
        return {row["Service"]["Meta"]["server"] for row in rows}

    async def at_home(self, *servers: str, within: float = 240.0) -> None:
        """Every server (or these) serves its own address, and its checks pass."""
        names = servers or tuple(self.servers)

        async def settled() -> bool:
            passing = await self.passing()
            for name in names:
                if name not in passing or await self.holder(name) != name:
                    return False
            return True

        await until("addresses at home", settled, within=within, why=self.network.logs)

    async def metric(self, server: str, name: str) -> float:
        """One of a server's metrics."""
        host = self.servers[server]
        async with host.http(f"http://{host.address}:{ADMIN}") as client:
            for line in (await client.get("/metrics")).text.splitlines():
                if line.startswith(f"{name} "):
                    return float(line.split()[1])
        raise AssertionError(f"{server} has no metric {name}")

    async def copied(self, server: str, count: int, *, within: float = 120.0) -> None:
        """A server has copies of ``count`` sessions of others."""

        async def there() -> bool:
            return await self.metric(server, "pbx_media_sessions_copied") == count

        what = f"{count} copies on {server}"
        await until(what, there, within=within, why=self.network.logs)

    async def switch(self, server: str, state: str) -> None:
        """As an administrator."""
        path = f"/v1/kv/{prefix(CLUSTER)}switches/{server}/media"
        body = {"state": state, "reason": "test", "by": "test", "since": 0.0}
        async with self.managers[0].http() as client:
            answer = await client.put(path, json=body)
            assert answer.is_success


@contextmanager
def media_fleet(
    media: Sequence[str] = ("ms1", "ms2"), managers: Sequence[str] = ("cm1", "cm2", "cm3")
) -> Iterator[Fleet]:
    """Managers' hosts, media servers and a host for phones; nothing runs but Consul."""
    with lab(consul=(*managers, *media), plain=("phones",)) as network:
        yield Fleet(network, managers, media)

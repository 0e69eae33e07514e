"""The roles that come with a Call Manager, on a lab's hosts, as Nomad would run them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import trio

from services.core.store import Database
from tests.cluster.lab import Host, Lab, Process, until
from tests.cluster.lab.namespace import pids

T = TypeVar("T")
log = logging.getLogger(__name__)

CLUSTER = "acme"
PYTHON = sys.executable
SECRETS = (
    "admin_token",
    "database_password",
    "database_superuser_password",
    "database_replication_password",
    "live_password",
)
NAMES = ("cm1", "cm2", "cm3")


class Managers:
    """Hosts ``cm1`` to ``cm3`` of a lab, each with its secrets."""

    def __init__(self, network: Lab) -> None:
        self.network = network
        self.hosts = [network[name] for name in NAMES]
        for host in self.hosts:
            secrets = host.directory / "secrets"
            secrets.mkdir(mode=0o700)
            (secrets / "cluster_key").write_text("5e" * 32)
            for name in SECRETS:
                (secrets / name).write_text(f"{name} of the test\n")

    @property
    def database_url(self) -> str:
        """As `pbxctl compile` writes it."""
        hosts = ",".join(host.address for host in self.hosts)
        return (
            f"postgresql://pbx@/pbx?host={hosts}&port=5432,5432,5432"
            "&target_session_attrs=read-write"
        )

    def secret(self, name: str) -> str:
        return (self.hosts[0].directory / "secrets" / name).read_text().strip()

    def data_dir(self, host: Host, role: str) -> Path:
        return host.directory / "data" / role

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
            "data_dir": str(self.data_dir(host, role)),
            "secrets_dir": str(host.directory / "secrets"),
            "managers": ",".join(f"{each.name}={each.address}" for each in self.hosts),
            "vip": self.network.vip,
            "vip_prefix": "24",
        }
        return {"NOMAD_ALLOC_DIR": str(run)} | {
            f"NOMAD_META_{name.upper()}": value for name, value in meta.items()
        }

    def start(self, host: Host, role: str, task: str) -> Process:
        """A task, started again a second after its end, as its job says, and at each boot."""
        once = f"{PYTHON} -m services.{role} {task}"
        words = ["sh", "-c", f"while :; do {once}; sleep 1; done"]
        env = self.environment(host, role) | {"PYTHONPATH": str(Path(__file__).parents[2])}
        return host.start(words, env=env, name=f"{role}-{task}", boot=True)

    def start_role(self, role: str, tasks: Sequence[str]) -> None:
        """On every host."""
        for host in self.hosts:
            for task in tasks:
                self.start(host, role, task)

    async def tagged(self, service: str, tag: str, *, but: Sequence[Host] = ()) -> list[Host]:
        """The hosts whose service passes, or warns, with this tag."""
        found = await self.network.ask_any(f"/v1/health/service/{service}?stale&tag={tag}") or []
        well = {
            each["Node"]["Node"]
            for each in found
            if all(check["Status"] != "critical" for check in each["Checks"])
        }
        return [host for host in self.hosts if host.name in well and host not in but]

    async def output(self, service: str, host: Host) -> str:
        """What a service's own check says."""
        found = await self.network.ask_any(f"/v1/health/service/{service}?stale") or []
        for each in found:
            if each["Node"]["Node"] == host.name:
                return next(c["Output"] for c in each["Checks"] if c["CheckID"] != "serfHealth")
        return ""

    async def waited(
        self, service: str, tag: str, count: int, *, but: Sequence[Host] = (), within: float = 240.0
    ) -> list[Host]:
        """``count`` hosts that are `tagged`."""

        async def there() -> list[Host]:
            found = await self.tagged(service, tag, but=but)
            return found if len(found) == count else []

        return await until(
            f"{count} {tag} of {service}", there, within=within, why=self.network.logs
        )


async def on(host: Host, work: Callable[[], T]) -> T:
    """Blocking work in a thread whose sockets are the host's."""

    def inside() -> T:
        with host.inside():
            return work()

    return await trio.to_thread.run_sync(inside, abandon_on_cancel=True)


def pid_of(host: Host, words: str) -> int:
    """The first process on the host whose command line has ``words`` in it."""
    for pid in sorted(pids(host.namespace)):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if words in line and not line.startswith("sh -c"):
            return pid
    raise AssertionError(f"no process {words!r} on {host.name}")


def store(managers: Managers) -> Database:
    """The store as a Call Manager opens it."""
    return Database(managers.database_url, managers.secret("database_password"))


def figure(what: str, seconds: float) -> None:
    """Told with ``pytest --log-cli-level=INFO``; no test depends on it."""
    log.info("%s: %.2f s", what, seconds)

"""IVR servers on a lab's hosts, the managers that watch them, and a phone that calls them directly.

The phone is where a Call Manager would be: the servers believe it and connect callers through it.
So what is tested is what becomes of calls when a server goes, not how they are routed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from pbxctl.probe import audio
from services.core.configuration import (
    Cluster,
    Destination,
    Document,
    Manifest,
    Tenant,
    digest,
    encode,
    prefix,
)
from services.core.menus import Menu, Record, Sound, Transfer
from tests.cluster.ivr_phone import IN, OUT, SOCKET
from tests.cluster.lab import Host, Lab, Process, lab, until
from tests.cluster.lab.namespace import pids
from tests.support.ivr_phone import CALLEE, RATE

CLUSTER = "menus"
TOKEN = "token-of-the-test"
PROJECT = Path(__file__).parents[2]
PYTHON = sys.executable
REDIS, ADMIN = 6380, 7082
PROMPT, NEXT, SAID = 2, 1, 0
"""Which of the probe's voices is what."""
SECONDS = 12.0
"""How long the prompt of menu ``main`` is."""


class IvrFleet:
    """``servers`` by name. The phone has menus ``main``, ``wait``, ``connect`` and ``record``."""

    def __init__(
        self, network: Lab, managers: Sequence[str], servers: Sequence[str], capacity: int
    ) -> None:
        self.network = network
        self._capacity = capacity
        self.managers = [network[name] for name in managers]
        self.servers = {name: network[name] for name in servers}
        self.phone = network["phones"]
        self.callers: Process
        self.processes: dict[str, Process] = {}
        for host in [*self.managers, *self.servers.values()]:
            secrets = host.directory / "secrets"
            secrets.mkdir(mode=0o700)
            (secrets / "cluster_key").write_text("5e" * 32)
            (secrets / "admin_token").write_text(TOKEN)

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
            "vip": self.phone.address,
            "live": f"{self.managers[0].address}:{REDIS}",
            "capacity": str(self._capacity),
        }
        return {"NOMAD_ALLOC_DIR": str(run), "PYTHONPATH": str(PROJECT)} | {
            f"NOMAD_META_{name.upper()}": value for name, value in meta.items()
        }

    async def start(self) -> None:
        """Everything, up to where a call can be made."""
        await self.network.consul_ready()
        first = self.managers[0]
        bind = ["--bind", first.address, "--port", str(REDIS)]
        words = ["redis-server", *bind, "--save", "", "--protected-mode", "no"]
        first.start(words, name="redis")
        for host in self.managers:
            env = self.environment(host, "prober")
            host.start([PYTHON, "-m", "tests.cluster.prober"], env=env, name="prober", boot=True)
        await self._configure()
        self.callers = self.start_caller("phone", self.phone.directory)
        for name in self.servers:
            self.start_server(name)
        await self.up()

    def start_caller(self, name: str, *words: str | Path) -> Process:
        """Who calls: `tests.cluster.ivr_phone`, or another one on its host."""
        program = [PYTHON, "-m", f"tests.cluster.ivr_{name}", self.phone.address]
        env = {"PYTHONPATH": str(PROJECT)}
        return self.phone.start([*program, *words], env=env, name=name)

    def start_server(self, name: str) -> None:
        """The server's process."""
        host = self.servers[name]
        env = self.environment(host, "ivr")
        words = [PYTHON, "-m", "services.ivr"]
        self.processes[name] = host.start(words, env=env, name="ivr")

    async def up(self, *names: str) -> None:
        """These servers, or all, pass their check."""
        wanted = set(names or self.servers)

        async def passing() -> bool:
            rows = await self.network.ask_any("/v1/health/service/ivr?passing&stale") or []
            return wanted <= {row["Service"]["Meta"]["server"] for row in rows}

        await until("IVR servers", passing, within=60, why=self.network.logs)

    async def _configure(self) -> None:
        sound = self.voice(PROMPT, SECONDS)
        talk = Transfer(to=Destination(kind="extension", target=CALLEE))
        record = Record(prompt={}, most=60, silence=5, end="#", voicemail="2003")
        menus: dict[str, Menu] = {
            "main": Menu(name="main", prompt={"en": sound}, keys={"1": ()}, after=60),
            "connect": Menu(name="connect", before=(talk,)),
            "record": Menu(name="record", before=(record,)),
        }
        tenant = Tenant(name="acme", domains=("acme.example",), menus=dict.fromkeys(menus, ""))
        found: dict[str, Document] = {"cluster": Cluster(name=CLUSTER), "tenants/acme": tenant}
        found |= {f"menus/acme/{name}": menu for name, menu in menus.items()}
        raw = {name: encode(document) for name, document in found.items()}
        digests = {name: digest(each) for name, each in raw.items()}
        manifest = Manifest(spec_hash="0" * 64, release="1", documents=digests)
        raw["manifest"] = encode(manifest)
        async with self.managers[0].http() as http:
            for name, each in raw.items():
                answer = await http.put(f"/v1/kv/{prefix(CLUSTER)}config/{name}", content=each)
                answer.raise_for_status()

    def voice(self, voice: int, seconds: float) -> Sound:
        """A sound of so many seconds of a voice, which every server has already."""
        path = self.network.directory / f"voice-{voice}.wav"
        audio.write_wav(path, audio.speak(voice, RATE, seconds=seconds), RATE)
        name = hashlib.sha256(path.read_bytes()).hexdigest()
        for host in self.servers.values():
            sounds = host.directory / "data" / "ivr" / "sounds"
            sounds.mkdir(parents=True, exist_ok=True)
            (sounds / name).write_bytes(path.read_bytes())
        return Sound(digest=name)

    async def ask(self, command: str) -> dict[str, str]:
        """See `tests.cluster.ivr_phone`."""
        stream = await trio.open_unix_socket(str(self.phone.directory / SOCKET))
        async with stream:
            await stream.send_all(command.encode())
            said = b"".join([chunk async for chunk in stream])
        found: dict[str, str] = json.loads(said)
        return found

    async def dial(self, server: str, menu: str = "main") -> None:
        """The phone calls a menu of a server, and is answered."""
        await self.ask(f"dial {self.servers[server].address} {menu}")

    async def side(self, name: str, wanted: str) -> None:
        """Until a call of the phone's is ``up`` or ``over``."""

        async def so() -> bool:
            return (await self.ask("state")).get(name) == wanted

        await until(f"the call {name} {wanted}", so, within=30, why=self.network.logs)

    async def hang_up(self) -> None:
        """The caller hangs up; all calls are over then."""
        await self.ask("hang up")
        await self.side(OUT, "over")

    def heard(self, side: str = OUT) -> audio.Samples:
        """What the phone has heard in a call that is over."""
        (samples, *_), _ = audio.read_wav(self.phone.directory / f"{side}.wav")
        return samples

    async def metric(self, server: str, name: str) -> float:
        """One of a server's metrics."""
        host = self.servers[server]
        async with host.http(f"http://{host.address}:{ADMIN}") as client:
            for line in (await client.get("/metrics")).text.splitlines():
                if line.startswith(f"{name} "):
                    return float(line.split()[1])
        raise AssertionError(f"{server} has no metric {name}")

    async def adopted(self, server: str, count: float) -> None:
        """A server has gone on with so many calls of others."""

        async def so() -> bool:
            return await self.metric(server, "pbx_ivr_adopted_total") == count

        await until(f"{count} calls adopted", so, within=30, why=self.network.logs)

    def pid(self, server: str) -> int:
        """The server's main process; its audio has another one."""
        for pid in sorted(pids(self.servers[server].namespace)):
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if "-m services.ivr" in line:
                return pid
        raise AssertionError(f"no IVR server runs on {server}")

    def signal(self, server: str, number: int) -> None:
        """To the main process."""
        os.kill(self.pid(server), number)

    def spool(self, server: str) -> list[Path]:
        """Messages that wait there to be sent."""
        return sorted((self.servers[server].directory / "data/ivr/voicemail/spool").glob("*.json"))

    async def post(self, server: str, path: str) -> Any:
        """Ask a server's admin API for something."""
        host = self.servers[server]
        async with host.http(f"http://{host.address}:{ADMIN}") as client:
            answer = await client.post(path, headers={"Authorization": f"Bearer {TOKEN}"})
            answer.raise_for_status()
            return answer.json()


@contextmanager
def ivr_fleet(
    servers: Sequence[str] = ("app1", "app2"),
    managers: Sequence[str] = ("cm1", "cm2", "cm3"),
    capacity: int = 50,
) -> Iterator[IvrFleet]:
    """All of it, running."""
    with lab(consul=(*managers, *servers), plain=("phones",)) as network:
        made = IvrFleet(network, managers, servers, capacity)
        trio.run(made.start)
        yield made


__all__ = ["IN", "IvrFleet", "ivr_fleet"]

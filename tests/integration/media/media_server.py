"""A real media server as its job runs it: embedded registry, rtpengine and agent, on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import trio

from pbxctl.engines.local.registry.storage import Storage
from services.core.configuration import Cluster, encode, prefix
from services.core.discovery import Instance, Registry
from services.core.ng import Ng, NgError, open_ng
from services.core.settings import META
from services.media import rtpengine
from services.media.settings import MediaSettings
from tests.contract.registry.implementations import running
from tests.support.hosts import loopback_network
from tests.support.waiting import until

PROJECT = Path(__file__).parents[3]
TOKEN = "0123456789abcdef"
CLUSTER = "test"


class MediaServer:
    """Two processes, started and stopped by the test. ``network`` is its ``127.x.y``."""

    def __init__(self, root: Path, network: str, registry: str, recordings: Path | None) -> None:
        self.root = root
        self.network = network
        self.settings = MediaSettings(
            cluster=CLUSTER,
            server="media1",
            release="1.0.0",
            registry=registry,
            address=f"{network}.2",
            media_address=f"{network}.3",
            data_dir=root / "data",
            run_dir=root / "run",
            secrets_dir=root / "secrets",
            recordings_dir=recordings or root / "recordings",
            capacity=100,
        )
        self.settings.secrets_dir.mkdir(parents=True)
        (self.settings.secrets_dir / "admin_token").write_text(TOKEN)
        (self.settings.secrets_dir / "cluster_key").write_text("11" * 32)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def environment(self) -> dict[str, str]:
        settings = self.settings
        values = {
            META + name.upper(): str(getattr(settings, name))
            for name in settings.__struct_fields__
            if name != "run_dir"
        }
        return {**os.environ, **values, "NOMAD_ALLOC_DIR": str(settings.run_dir)}

    def start(self, task: str, *, media_timeout: int = 0) -> None:
        """``media_timeout`` shortens rtpengine's own, for tests that wait for it."""
        command = [sys.executable, "-m", "services.media", task]
        if media_timeout:
            command = [*rtpengine.arguments(self.settings), f"--timeout={media_timeout}"]
            rtpengine.can_record(self.settings.recordings_dir)
        with (self.root / f"{task}.log").open("ab") as log:
            self.processes[task] = subprocess.Popen(
                command, cwd=PROJECT, env=self.environment, stdout=log, stderr=log
            )

    def kill(self, task: str) -> None:
        process = self.processes.pop(task)
        process.kill()
        process.wait(10)

    async def terminate(self, task: str) -> None:
        """As the engine does; the registry, which runs in this process, has to go on."""
        process = self.processes[task]
        process.terminate()
        await until(lambda: process.poll() is not None, 10)

    def log(self, task: str) -> str:
        return (self.root / f"{task}.log").read_text()

    def stop(self) -> None:
        for task in list(self.processes):
            self.kill(task)

    async def until_up(self, registry: Registry) -> Instance:
        return await self.until(registry, lambda i: i.passing)

    async def until(self, registry: Registry, wanted: Callable[[Instance], bool]) -> Instance:
        """Its registration, once it is as wanted."""
        with trio.fail_after(20):
            while True:
                # Not a watch: a change of the output alone need not wake one.
                for instance in await registry.health("media"):
                    if wanted(instance):
                        return instance
                await trio.sleep(0.05)

    async def until_ng(self, ng: Ng) -> None:
        with trio.fail_after(10):
            while True:
                with suppress(NgError):
                    await ng.command("ping")
                    return
                await trio.sleep(0.02)

    def client(self) -> httpx.AsyncClient:
        s = self.settings
        return httpx.AsyncClient(
            base_url=f"http://{s.address}:{s.admin_port}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
        )


@asynccontextmanager
async def media_server(
    *, recordings: Path | None = None, configuration: Cluster | None = None
) -> AsyncIterator[tuple[MediaServer, Registry]]:
    """A server whose processes the test starts, and a client of its registry."""
    with (
        loopback_network() as network,
        tempfile.TemporaryDirectory(prefix="m") as directory,
    ):
        storage = Storage(Path(directory) / "registry.sqlite")
        try:
            async with running(storage, f"{network}.1") as url, Registry(url) as registry:
                document = configuration or Cluster(name=CLUSTER)
                await registry.put(f"{prefix(CLUSTER)}config/cluster", encode(document))
                server = MediaServer(Path(directory) / "s", network, url, recordings)
                try:
                    yield server, registry
                finally:
                    server.stop()
        finally:
            storage.close()


@asynccontextmanager
async def only_rtpengine() -> AsyncIterator[tuple[MediaServer, Ng]]:
    """An rtpengine that answers, and a client of it."""
    with (
        loopback_network() as network,
        tempfile.TemporaryDirectory(prefix="m") as directory,
    ):
        server = MediaServer(Path(directory), network, "http://127.0.0.1:9", None)
        server.start("rtpengine")
        try:
            async with open_ng(server.settings.address, server.settings.control_port) as ng:
                await server.until_ng(ng)
                yield server, ng
        finally:
            server.stop()

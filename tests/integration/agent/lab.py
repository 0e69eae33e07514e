"""One Call Manager as it is run: a real registry, `prepare`, then agent and Kamailio."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import trio

from pbxctl.engines.local.registry.storage import Storage
from services.call_manager.rpc import Rpc, RpcError, open_rpc
from services.call_manager.settings import CallManagerSettings
from services.core.assembly import MANIFEST
from services.core.configuration import (
    Cluster,
    Destination,
    Manifest,
    Tenant,
    User,
    digest,
    encode,
    ha1,
)
from services.core.discovery import Check, Registry, Service
from services.core.settings import Settings
from services.media.settings import MediaSettings
from tests.contract.registry.implementations import running
from tests.support.kamailio import PASSWORD

ROOT = Path(__file__).parents[3]
CLUSTER = "test"
TENANT = "acme"
DOMAIN = "acme.example"
TOKEN = "token-of-the-test"
KEY = bytes(range(32))
STARTS_WITHIN = 120.0
MEDIA_WITHIN = 90.0
"""Kamailio takes new media servers up once in 10 s, its own start included."""


class Lab:
    """``http`` speaks to the admin API, ``registry`` to the registry, ``rpc`` to Kamailio."""

    def __init__(self, network: str, root: Path, database_url: str) -> None:
        self.network = network
        self.root = root
        self.settings = CallManagerSettings(
            cluster=CLUSTER,
            server="cm1",
            release="1.0.0",
            registry=f"http://{network}.9:8500",
            address=f"{network}.1",
            vip=f"{network}.2",
            data_dir=root / "data",
            run_dir=root / "run",
            secrets_dir=root / "secrets",
            database_url=database_url,
            workers=2,
            shared_memory=128,
        )
        self.environment = environment(self.settings)
        self.documents: dict[str, bytes] = {}
        self.media_settings: dict[str, MediaSettings] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._registry: trio.CancelScope | None = None
        self._registry_gone = trio.Event()
        self.nursery: trio.Nursery
        self.http: httpx.AsyncClient
        self.registry: Registry
        self.rpc: Rpc

    def start(self, task: str) -> None:
        """Start ``agent`` or ``kamailio``."""
        self._run(task, "services.call_manager", task, self.environment)

    def start_media(self, name: str, host: int) -> None:
        """Start a media server, ``<name> rtpengine`` and ``<name> agent``, at ``.<host>``."""
        address = f"{self.network}.{host}"
        root = self.root / name
        for directory in ("data", "run", "recordings"):
            (root / directory).mkdir(parents=True)
        settings = self.media_settings[name] = MediaSettings(
            cluster=CLUSTER,
            server=name,
            release="1.0.0",
            registry=self.settings.registry,
            address=address,
            media_address=address,
            data_dir=root / "data",
            run_dir=root / "run",
            secrets_dir=self.settings.secrets_dir,
            recordings_dir=root / "recordings",
            capacity=50,
        )
        for task in ("rtpengine", "agent"):
            self._run(f"{name} {task}", "services.media", task, environment(settings))

    def _run(self, name: str, module: str, task: str, variables: dict[str, str]) -> None:
        with (self.root / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", module, task],
                env=variables,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_again(self, name: str) -> None:
        """Start a task of a media server that was stopped."""
        server, _, task = name.rpartition(" ")
        self._run(name, "services.media", task, environment(self.media_settings[server]))

    async def media_is(self, **states: str) -> float:
        """Wait until routing has the media servers in these states; says how long it took."""

        async def so() -> bool:
            found = (await self.get("/v1/configuration"))["media"]
            return {one["name"]: one["state"] for one in found} == states

        return await self.until(so, f"media servers are {states}", within=MEDIA_WITHIN)

    def stop(self, task: str, number: int = signal.SIGTERM, within: float = 30.0) -> float:
        """Stop a task; says how many seconds it took."""
        process = self._processes.pop(task)
        began = time.monotonic()
        # The group, as an engine does: Kamailio's children outlive a parent that is killed.
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        try:
            process.wait(within)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)
        return time.monotonic() - began

    def ended(self, task: str, within: float = 60.0) -> int:
        """Wait for a task that ends by itself; its exit status."""
        return self._processes.pop(task).wait(within)

    def stop_all(self) -> None:
        """Stop every task, whatever becomes of one of them."""
        with ExitStack() as stack:
            for task in list(self._processes):
                stack.callback(self.stop, task)

    async def restart_registry(self, *, forget: bool) -> None:
        """Start the registry, again perhaps, with what it knew or without it."""
        await self.stop_registry()
        if forget:
            for path in self.root.glob("registry.sqlite*"):
                path.unlink()
        self._registry_gone = trio.Event()
        self._registry = await self.nursery.start(self._run_registry)

    async def stop_registry(self) -> None:
        if self._registry is not None:
            self._registry.cancel()
            await self._registry_gone.wait()
            self._registry = None

    async def _run_registry(self, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with (
            closing(Storage(self.root / "registry.sqlite")) as storage,
            trio.CancelScope() as scope,
        ):
            async with running(storage, f"{self.network}.9"):
                task_status.started(scope)
                await trio.sleep_forever()
        self._registry_gone.set()

    def recordings(self, name: str) -> list[str]:
        """Names of the files in a media server's directory of recordings."""
        return [path.name for path in (self.root / name / "recordings").rglob("*")]

    def log(self, task: str) -> str:
        return (self.root / f"{task}.log").read_text(errors="replace")

    async def get(self, path: str, **query: str | int) -> Any:
        answer = await self.http.get(path, params=query)
        assert answer.status_code == 200, f"{path}: {answer.status_code}: {answer.text}"
        return answer.json()

    async def put_users(self, *users: User, **query: str) -> httpx.Response:
        body = b"".join(encode(user) + b"\n" for user in users)
        return await self.http.put(f"/v1/tenants/{TENANT}/users", params=query, content=body)

    async def apply(self, documents: dict[str, Any]) -> str:
        """Write documents and then the manifest, as `pbxctl apply` does; its digest."""
        self.documents = {name: encode(value) for name, value in documents.items()}
        for name, raw in self.documents.items():
            await self.put(name, raw)
        manifest = manifest_of(self.documents)
        await self.put(MANIFEST, manifest)
        return digest(manifest)

    async def put(self, name: str, raw: bytes) -> None:
        assert await self.registry.put(f"pbx/{CLUSTER}/config/{name}", raw)

    async def register_media(self, name: str, host: int, *, status: str = "passing") -> str:
        """Register a media server as its agent does; its service's id."""
        service = f"{CLUSTER}-media-{name}"
        address = f"{self.network}.{host}"
        meta = {
            "cluster": CLUSTER,
            "server": name,
            "release": "1.0.0",
            "capacity": "50",
            "control": f"{address}:2223",
            "announce": f"{address}:5090",
            "media_address": address,
        }
        await self.registry.register(
            Service(id=service, name="media", address=address, meta=meta, checks=(Check(ttl=60),))
        )
        await self.registry.report(service, status, "RTP echo 0.3 ms")  # type: ignore[arg-type] - the tests' own words
        return service

    async def until(
        self, condition: Callable[[], Awaitable[bool]], what: str, within: float = 30.0
    ) -> float:
        """Wait for it; says how many seconds it took."""
        began = trio.current_time()
        while not await condition():
            if trio.current_time() > began + within:
                raise AssertionError(
                    f"not within {within:g} s: {what}\n{self.log('agent')[-4000:]}"
                )
            await trio.sleep(0.02)
        return trio.current_time() - began

    async def health(self) -> dict[str, Any]:
        return (await self.http.get("/health")).json()


def environment(settings: Settings) -> dict[str, str]:
    """What a job gives its tasks."""
    values = msgspec.structs.asdict(settings)
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"} | {
        ("NOMAD_ALLOC_DIR" if name == "run_dir" else f"NOMAD_META_{name.upper()}"): str(value)
        for name, value in values.items()
    }


def manifest_of(documents: dict[str, bytes]) -> bytes:
    digests = {name: digest(raw) for name, raw in documents.items()}
    return encode(Manifest(spec_hash="0" * 64, release="1.0.0", documents=digests))


def plain() -> dict[str, Any]:
    """The documents of a cluster with one tenant and one number."""
    return {
        "cluster": Cluster(name=CLUSTER),
        "routes": [],
        f"tenants/{TENANT}": Tenant(name=TENANT, domains=(DOMAIN,)),
        f"numbers/{TENANT}/0": {"+4930123": Destination(kind="extension", target="2001")},
    }


def user(extension: str, **fields: Any) -> User:
    return User(
        tenant=TENANT,
        extension=extension,
        ha1_md5=ha1(extension, DOMAIN, PASSWORD, "MD5"),
        ha1_sha256=ha1(extension, DOMAIN, PASSWORD, "SHA-256"),
        **fields,
    )


@asynccontextmanager
async def lab(
    network: str, *, database_url: str = "", kamailio: bool = True
) -> AsyncGenerator[Lab]:
    """Everything up, with the agent's API answering; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="agent-", dir="/tmp") as directory:
        root = Path(directory)
        found = Lab(network, root, database_url or f"sqlite:///{root}/data/pbx.db")
        (root / "secrets").mkdir()
        (root / "secrets" / "cluster_key").write_text(KEY.hex())
        (root / "secrets" / "admin_token").write_text(TOKEN)
        base = f"http://{found.settings.address}:{found.settings.admin_port}"
        (root / "run").mkdir()
        async with trio.open_nursery() as nursery:
            found.nursery = nursery
            await found.restart_registry(forget=False)
            async with (
                Registry(found.settings.registry) as found.registry,
                open_rpc(found.settings.kamailio_rpc) as found.rpc,
                httpx.AsyncClient(
                    base_url=base,
                    headers={"Authorization": f"Bearer {TOKEN}"},
                    trust_env=False,
                    timeout=30,
                ) as found.http,
            ):
                try:
                    await trio.to_thread.run_sync(_prepare, found)
                    found.start("agent")
                    if kamailio:
                        found.start("kamailio")
                    await wait_until_up(found, kamailio=kamailio)
                    yield found
                finally:
                    found.stop_all()
            nursery.cancel_scope.cancel()


async def wait_until_up(found: Lab, *, kamailio: bool = True) -> None:
    """The API answers; with Kamailio, the check of it passes too."""

    async def up() -> bool:
        try:
            answer = await found.http.get("/health")
        except httpx.TransportError:
            return False
        if not kamailio:
            return True
        try:
            await found.rpc("core.uptime")
        except RpcError:
            return False
        return answer.status_code == 200

    await found.until(up, "the agent is up", within=STARTS_WITHIN)


def _prepare(found: Lab) -> None:
    subprocess.run(
        [sys.executable, "-m", "services.call_manager", "prepare"],
        env=found.environment,
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=180,
    )

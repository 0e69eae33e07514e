"""Registries that the contract is tested against: each really runs."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import trio

from pbxctl.engines.local.http import serve
from pbxctl.engines.local.registry.server import RegistryServer
from pbxctl.engines.local.registry.storage import Storage
from tests.support.hosts import loopback_network

CONSUL = Path(__file__).parents[3] / ".cache" / "engines" / "consul"
PORT = 8500

Implementation = Callable[[], AbstractAsyncContextManager[str]]


@asynccontextmanager
async def embedded() -> AsyncIterator[str]:
    with loopback_network() as network, tempfile.TemporaryDirectory() as directory:
        storage = Storage(Path(directory) / "registry.sqlite")
        try:
            async with running(storage, f"{network}.1") as url:
                yield url
        finally:
            storage.close()


@asynccontextmanager
async def running(storage: Storage, address: str) -> AsyncIterator[str]:
    """The embedded registry on an address, as the local engine runs it."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, PORT))
    server = RegistryServer(storage)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        await nursery.start(serve, server.ask, listener)
        yield f"http://{address}:{PORT}"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def consul() -> AsyncIterator[str]:
    with loopback_network() as network, tempfile.TemporaryDirectory() as directory:
        address = f"{network}.1"
        settings = Path(directory) / "consul.json"
        settings.write_text(
            json.dumps(
                {
                    "client_addr": address,
                    "bind_addr": address,
                    "ports": {"grpc": -1, "grpc_tls": -1, "dns": -1},
                    "disable_update_check": True,
                    "log_level": "warn",
                }
            )
        )
        log = (Path(directory) / "log").open("wb")
        # Popen itself does not wait; trio's own process could not be killed in a finally.
        agent = subprocess.Popen(  # noqa: ASYNC220
            [CONSUL, "agent", "-dev", "-node", "local", "-config-file", settings],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://{address}:{PORT}"
            with trio.fail_after(60):
                await _elected(url)
            yield url
        finally:
            agent.kill()
            agent.wait()
            log.close()


async def _elected(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            try:
                answer = await client.get(f"{url}/v1/health/node/local")
                if any(check["CheckID"] == "serfHealth" for check in answer.json()):
                    return
            except (httpx.HTTPError, ValueError):
                pass
            await trio.sleep(0.2)


IMPLEMENTATIONS: dict[str, Implementation] = {"embedded": embedded}
if CONSUL.exists():
    IMPLEMENTATIONS["consul"] = consul

"""The client of the admin API against a real server of it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
import trio
from fastapi import HTTPException, Request
from prometheus_client import CollectorRegistry

from pbxctl.admin_client import AdminClient, AdminError, InForce
from services.core.admin import Health, authorized_router, create_app, serve
from tests.support.hosts import loopback_network

TOKEN = "the-token"
ROUTER = authorized_router()


@ROUTER.get("/v1/configuration")
async def configuration() -> dict[str, str]:
    return {"manifest": "abc", "something_new": "ignored"}


@ROUTER.get("/v1/odd")
async def odd() -> list[str]:
    return ["not", "an", "object"]


@ROUTER.put("/v1/users")
async def users(request: Request) -> dict[str, int]:
    written = 0
    async for chunk in request.stream():
        written += chunk.count(b"\n")
    return {"written": written}


@ROUTER.delete("/v1/users")
async def refused() -> None:
    raise HTTPException(409, "2001 belongs to the spec")


async def no_drain() -> None:
    """Nothing to drain."""


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = create_app(
        title="test",
        version="1",
        token=TOKEN,
        health=lambda: Health(status="passing", output="fine"),
        metrics=CollectorRegistry(),
        drain=no_drain,
        routers=(ROUTER,),
    )
    with loopback_network() as network:
        # Gone before the network is: the next test may get the same one.
        async with trio.open_nursery() as nursery:
            yield str(await nursery.start(serve, app, f"{network}.1", 7080))
            nursery.cancel_scope.cancel()


async def test_answers_are_typed(url: str) -> None:
    async with AdminClient(url, TOKEN) as client:
        assert await client.in_force() == InForce(manifest="abc")
        with pytest.raises(AdminError, match="something else than expected"):
            await client.get("/v1/odd", InForce)


async def test_refusals_are_messages(url: str) -> None:
    async with AdminClient(url, TOKEN) as client:
        with pytest.raises(AdminError, match=r"^2001 belongs to the spec$") as refused:
            await client.send("DELETE", "/v1/users")
        assert refused.value.status == 409
        with pytest.raises(AdminError, match="Not Found") as missing:
            await client.send("GET", "/v1/nothing")
        assert missing.value.status == 404
    async with AdminClient(url, "another") as client:
        with pytest.raises(AdminError, match="refused this cluster's admin token"):
            await client.in_force()


async def test_users_are_sent_as_they_come(url: str) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(1000):
            yield b"%d\n" % number

    async with AdminClient(url, TOKEN) as client:
        assert await client.stream("/v1/users", lines(), dict[str, int], {}) == {"written": 1000}


async def test_nobody_there_is_a_message_after_the_patience() -> None:
    with loopback_network() as network:
        started = trio.current_time()
        async with AdminClient(f"http://{network}.1:7080", TOKEN, patience=0.5) as client:
            with pytest.raises(AdminError, match=r"at http://127.*:7080 cannot be reached"):
                await client.in_force()
        assert 0.5 <= trio.current_time() - started < 5


async def test_one_that_just_starts_is_waited_for(nursery: trio.Nursery) -> None:
    with loopback_network() as network, socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((f"{network}.1", 7080))

        async def late() -> None:
            await trio.sleep(0.3)
            listener.listen()
            with trio.socket.from_stdlib_socket(listener) as server:
                peer, _ = await server.accept()
                with peer:
                    await peer.recv(4096)
                    body = b'{"manifest":"xyz"}'
                    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
                    await peer.send(head + body)

        nursery.start_soon(late)
        async with AdminClient(f"http://{network}.1:7080", TOKEN) as client:
            assert (await client.in_force()).manifest == "xyz"


async def test_a_proxy_of_the_shell_is_not_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with AdminClient(url, TOKEN, patience=0) as client:
        assert (await client.in_force()).manifest == "abc"

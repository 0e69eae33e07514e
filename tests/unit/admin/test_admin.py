"""The admin HTTP side, over a real socket."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import pytest
import trio
from fastapi import Path
from prometheus_client import CollectorRegistry, Gauge
from pydantic import BaseModel, Field

from services.core.admin import Health, authorized_router, create_app, serve
from tests.support.hosts import loopback_network

TOKEN = "correct horse"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class Body(BaseModel):
    limit: int = Field(ge=1)


class Role:
    def __init__(self) -> None:
        self.health = Health("passing", "SIP OPTIONS 2 ms")
        self.drained = 0

    async def drain(self) -> None:
        self.drained += 1


@asynccontextmanager
async def running(role: Role) -> AsyncIterator[httpx.AsyncClient]:
    metrics = CollectorRegistry()
    Gauge("pbx_calls_up", "Calls that are up", registry=metrics).set(7)
    router = authorized_router()

    @router.get("/fails")
    async def fails() -> None:
        raise RuntimeError("secret detail")

    @router.post("/limits")
    async def limits(body: Body) -> int:
        return body.limit

    @router.get("/extensions/{extension}")
    async def extension(extension: Annotated[str, Path(pattern=r"^[0-9*#]{2,15}$")]) -> str:
        return extension

    app = create_app(
        title="test",
        version="1",
        token=TOKEN,
        health=lambda: role.health,
        metrics=metrics,
        drain=role.drain,
        routers=(router,),
    )
    with loopback_network() as network, trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            stop = trio.Event()
            base = await nursery.start(
                lambda task_status: serve(
                    app, f"{network}.1", 7080, stop=stop, task_status=task_status
                )
            )
            async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
                yield client
            stop.set()


async def test_health_is_public_and_its_status_is_the_checks() -> None:
    role = Role()
    async with running(role) as client:
        answer = await client.get("/health")
        assert answer.status_code == 200
        assert answer.json() == {
            "status": "passing",
            "output": "SIP OPTIONS 2 ms",
            "problems": [],
        }
        role.health = Health("critical", "SIP OPTIONS timed out", ["database away"])
        answer = await client.get("/health")
        assert answer.status_code == 503
        assert answer.json()["problems"] == ["database away"]


async def test_metrics_are_public_and_in_prometheus_text() -> None:
    async with running(Role()) as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert "pbx_calls_up 7.0\n" in answer.text
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer correct hors"},
        {"Authorization": "Bearer correct horse2"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
    ],
)
@pytest.mark.parametrize("path", ["/drain", "/openapi.json", "/nothing-here"])
async def test_everything_else_needs_the_token(headers: dict[str, str], path: str) -> None:
    role = Role()
    async with running(role) as client:
        answer = await client.post(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "bearer token" in answer.json()["error"]
    assert role.drained == 0


async def test_drain_with_the_token() -> None:
    role = Role()
    async with running(role) as client:
        answer = await client.post("/drain", headers=HEADERS)
    assert answer.status_code == 200
    assert answer.json() == {"draining": True}
    assert role.drained == 1


async def test_errors_are_json_and_tell_what_was_expected(caplog: pytest.LogCaptureFixture) -> None:
    async with running(Role()) as client:
        client.headers.update(HEADERS)
        missing = await client.get("/nothing-here")
        assert (missing.status_code, missing.json()) == (404, {"error": "Not Found"})
        wrong = await client.post("/limits", json={"limit": 0})
        assert wrong.status_code == 422
        assert wrong.json()["error"] == "limit: expected 1 or more"
        shape = await client.get("/extensions/a b", headers=HEADERS)
        said = "path.extension: expected 2 to 15 digits, * or #"
        assert (shape.status_code, shape.json()["error"]) == (422, said)
        broken = await client.post(
            "/limits", content=b"{", headers={"Content-Type": "application/json"}
        )
        assert broken.status_code == 422
        assert "JSON" in broken.json()["error"]
        with caplog.at_level(logging.ERROR):
            failed = await client.get("/fails")
        assert failed.status_code == 500
        assert failed.json() == {"error": "internal error (RuntimeError); see this role's log"}
        assert "GET /fails failed" in caplog.text


async def test_openapi_says_which_routes_need_the_token() -> None:
    async with running(Role()) as client:
        described = (await client.get("/openapi.json", headers=HEADERS)).json()
    assert "security" not in described["paths"]["/health"]["get"]
    assert described["paths"]["/drain"]["post"]["security"] == [{"HTTPBearer": []}]


def test_an_empty_token_opens_nothing() -> None:
    role = Role()
    with pytest.raises(ValueError, match="empty"):
        create_app(
            title="t",
            version="1",
            token="",
            health=lambda: role.health,
            metrics=CollectorRegistry(),
            drain=role.drain,
        )

"""The part of a Call Manager's admin API that media servers call: it keeps what it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from fastapi import FastAPI, Request, Response

from services.core.admin import serve
from services.core.discovery import Check, Registry, Service
from tests.integration.media.media_server import CLUSTER, TOKEN
from tests.support.waiting import until


class CallManager:
    """``accepts`` False answers 503, as a Call Manager does whose store is away."""

    def __init__(self) -> None:
        self.recordings: dict[str, dict[str, Any]] = {}
        self.ended: list[tuple[str, str]] = []
        self.accepts = True
        self.refused = 0

    async def until_recordings(self, count: int) -> list[dict[str, Any]]:
        await until(lambda: len(self.recordings) >= count, 25)
        return list(self.recordings.values())

    def application(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/recordings", status_code=201)
        async def put(request: Request) -> Response:
            if request.headers["authorization"] != f"Bearer {TOKEN}":
                return Response(status_code=401)
            if not self.accepts:
                self.refused += 1
                return Response(status_code=503)
            entry = await request.json()
            self.recordings[entry["id"]] = entry
            return Response(status_code=201)

        @app.delete("/v1/calls/{call:path}")
        async def end(call: str, reason: str, request: Request) -> Response:
            if request.headers["authorization"] != f"Bearer {TOKEN}":
                return Response(status_code=401)
            self.ended.append((call, reason))
            return Response(status_code=202)

        return app


@asynccontextmanager
async def call_manager(registry: Registry, address: str, name: str) -> AsyncIterator[CallManager]:
    """One that the registry knows."""
    found = CallManager()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, found.application(), address, 7080)
        await registry.register(
            Service(
                id=f"{CLUSTER}-call-manager-{name}",
                name="call-manager",
                address=address,
                port=7080,
                meta={"cluster": CLUSTER, "server": name, "admin": f"http://{address}:7080"},
                checks=(Check(ttl=60, status="passing"),),
            )
        )
        yield found
        nursery.cancel_scope.cancel()

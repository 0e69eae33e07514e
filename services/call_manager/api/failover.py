"""Who has the VIP, and giving it to another Call Manager."""

from __future__ import annotations

import time

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from services.call_manager.parts import Parts
from services.core.admin import Problem, authorized_router
from services.core.failover import HandOverError


class HandOver(BaseModel):
    """``to``: a Call Manager's server; empty for whoever comes first."""

    to: str = Field("", max_length=64)


class HandedOver(BaseModel):
    """Servers' names; ``seconds`` until the other one had it."""

    holder: str
    before: str
    seconds: float


class Standing(BaseModel):
    """``holder`` is empty while none is known; ``since`` is Unix time, None if it is not here.

    ``down``: servers, as role/server, that a majority of managers cannot reach.
    """

    server: str
    holder: str
    held: bool
    since: float | None
    managers: list[str]
    down: list[str]


def router(parts: Parts) -> APIRouter:
    """``/v1/failover``."""
    routes = authorized_router(tags=["cluster"])
    vip, server = parts.vip, parts.settings.server

    @routes.get("/v1/failover")
    async def read_failover() -> Standing:  # pyright: ignore[reportUnusedFunction]
        """What this Call Manager knows of the VIP and of who is down."""
        return Standing(
            server=server,
            holder=vip.holder,
            held=vip.held,
            since=vip.since,
            managers=list(vip.names),
            down=sorted(f"{role}/{name}" for role, name in vip.down),
        )

    @routes.post("/v1/failover", responses={409: {"model": Problem}})
    async def fail_over(body: HandOver) -> HandedOver:  # pyright: ignore[reportUnusedFunction]
        """Give the VIP to another Call Manager; asked of the one that has it, else 409."""
        began = time.monotonic()
        try:
            await vip.hand_over(body.to)
        except HandOverError as error:
            raise HTTPException(409, str(error)) from None
        return HandedOver(
            holder=vip.holder, before=server, seconds=round(time.monotonic() - began, 3)
        )

    return routes

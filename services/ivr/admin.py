"""The HTTP side of an IVR server, beyond what every role has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from pydantic import BaseModel

from services.core.admin import authorized_router


class HandedOver(BaseModel):
    """How many calls other servers go on with; 0 where there is no other one."""

    calls: int


def leaving(hand_over: Callable[[], Awaitable[int]]) -> APIRouter:
    """What a drain asks for at its deadline."""
    routes = authorized_router(tags=["calls"])

    @routes.post("/v1/hand-over")
    async def hand_all_over() -> HandedOver:  # pyright: ignore[reportUnusedFunction]
        """Leave all calls to other IVR servers, and take none until the switch is enabled."""
        return HandedOver(calls=await hand_over())

    return routes

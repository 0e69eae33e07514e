"""The HTTP side: what every role has, and the API in ``api``."""

from __future__ import annotations

from typing import Any

import trio
from starlette.responses import JSONResponse

from services.call_manager import metrics
from services.call_manager.api import (
    alerts,
    calls,
    cluster,
    failover,
    prompts,
    replication,
    sounds,
    users,
    voicemail,
)
from services.call_manager.parts import Parts
from services.call_manager.rpc import RpcError
from services.core.admin import Application, create_app
from services.core.discovery import RegistryError
from services.core.store import StoreAwayError, StoreError


def application(parts: Parts) -> Application:
    """The ASGI application of the role."""
    return create_app(
        title="Call Manager",
        version=parts.settings.release,
        token=parts.token,
        health=parts.health,
        metrics=metrics.registry(parts.state, parts.calls, parts.vip, trio.current_time),
        drain=parts.drain,
        routers=(
            users.router(parts),
            calls.router(parts),
            cluster.router(parts),
            sounds.router(parts),
            replication.router(parts),
            failover.router(parts),
            alerts.router(parts),
            voicemail.router(parts),
            prompts.router(parts),
        ),
        errors={StoreAwayError: _away, StoreError: _refused, RpcError: _away, RegistryError: _away},
    )


async def _away(_: Any, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 503, {"Retry-After": "2"})


async def _refused(_: Any, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 409)

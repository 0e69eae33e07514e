"""The stream of call events for the other Call Managers' agents."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from services.call_manager.parts import Parts
from services.call_manager.replication import PATH
from services.core.admin import authorized_router

NDJSON = "application/x-ndjson"


def router(parts: Parts) -> APIRouter:
    """``/v1/replication``."""
    routes = authorized_router(tags=["cluster"])

    @routes.get(
        PATH,
        response_class=StreamingResponse,
        responses={200: {"content": {NDJSON: {"schema": {"type": "string"}}}}},
    )
    async def replicate() -> StreamingResponse:  # pyright: ignore[reportUnusedFunction]
        """Call events, one JSON object a line: first what is up, then what is new. Never ends."""
        return StreamingResponse(parts.calls.journal.read(), media_type=NDJSON)

    return routes

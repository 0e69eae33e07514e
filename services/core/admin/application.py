"""The HTTP side that every role has, and to which it adds its own routes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from services.core.admin.guard import Application, Guard
from services.core.admin.health import Health

log = logging.getLogger(__name__)

ErrorAnswer = Callable[[Request, Exception], Awaitable[Response]]
PATTERNS = {
    r"^[0-9*#]{2,15}$": "expected 2 to 15 digits, * or #",
    r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$": "expected 1 to 40 lower-case letters, digits or -",
    r"^([0-9a-f]{32})?$": "expected 32 hex digits: an HA1, never a password",
    r"^([0-9a-f]{64})?$": "expected 64 hex digits",
    r"^(\+[1-9][0-9]{4,14})?$": "expected a number with plus and country code",
}
"""What the APIs' patterns mean, for people."""
PUBLIC = frozenset({"/health", "/metrics"})


class Problem(BaseModel):
    """Body of every answer of 400 and above."""

    error: str


class Draining(BaseModel):
    """Answer of ``POST /drain``."""

    draining: bool


def authorized_router(**settings: Any) -> APIRouter:
    """A router whose routes say in OpenAPI that they need the bearer token."""
    return APIRouter(
        dependencies=[Security(HTTPBearer(auto_error=False, description="The admin token"))],
        responses={
            400: {"model": Problem, "description": "A NUL in the path or a parameter"},
            401: {"model": Problem, "description": "No token, or a wrong one"},
        },
        **settings,
    )


def bytes_of(kind: str) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of a route whose good answer is a file of media type ``kind``."""
    return {200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}}}


def create_app(
    *,
    title: str,
    version: str,
    token: str,
    health: Callable[[], Health],
    metrics: CollectorRegistry,
    drain: Callable[[], Awaitable[None]],
    routers: tuple[APIRouter, ...] = (),
    errors: Mapping[type[Exception], ErrorAnswer] | None = None,
) -> Application:
    """The ASGI application of a role: ``/health``, ``/metrics``, ``/drain`` and ``routers``.

    ``health`` and the collectors of ``metrics`` must not wait. ``drain`` makes the role take no new
    work; it may be called again. ``errors`` answers exceptions of the role's own. Every path but
    ``/health`` and ``/metrics`` needs ``token``. Raises ValueError for an empty token.
    """
    if not token:
        raise ValueError("the admin token is empty")
    # The documentation pages load scripts from elsewhere; /openapi.json is enough.
    app = FastAPI(title=title, version=version, docs_url=None, redoc_url=None)
    _errors_as_json(app)
    for kind, answer in (errors or {}).items():
        app.add_exception_handler(kind, answer)
    common = APIRouter(tags=["every role"])
    closed = authorized_router(tags=["every role"])

    @common.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def read_health(response: Response) -> Health:  # pyright: ignore[reportUnusedFunction]
        """Whether the role does its job: 200 if passing or warning, 503 if critical."""
        found = health()
        response.status_code = 503 if found.status == "critical" else 200
        return found

    @common.get("/metrics", response_class=Response)
    async def read_metrics() -> Response:  # pyright: ignore[reportUnusedFunction]
        """Prometheus text format."""
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    @closed.post("/drain")
    async def begin_drain() -> Draining:  # pyright: ignore[reportUnusedFunction]
        """Take no new work; what runs goes on."""
        await drain()
        return Draining(draining=True)

    for router in (common, closed, *routers):
        app.include_router(router)
    return Guard(app, token=token, public=PUBLIC)


def _errors_as_json(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        return JSONResponse({"error": "; ".join(map(_explain, error.errors()))}, 422)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        name = type(error).__name__
        return JSONResponse({"error": f"internal error ({name}); see this role's log"}, 500)


def _explain(problem: dict[str, Any]) -> str:
    """One problem of pydantic's as ``where: what was expected``; what was sent is not repeated."""
    where = ".".join(str(part) for part in problem["loc"] if part != "body")
    return f"{where or 'body'}: {_expected(problem['type'], problem.get('ctx') or {}, problem)}"


def _expected(kind: str, context: Mapping[str, Any], problem: Mapping[str, Any]) -> str:
    """In an operator's words; pydantic's own where none fit."""
    words = {
        "missing": "is needed",
        "extra_forbidden": "is not known here",
        "string_pattern_mismatch": "has another form than {pattern}",
        "string_too_long": "expected at most {max_length} characters",
        "string_too_short": "expected at least {min_length} characters",
        "literal_error": "expected {expected}",
        "greater_than_equal": "expected {ge} or more",
        "less_than_equal": "expected {le} or less",
        "int_parsing": "expected a whole number",
        "int_type": "expected a whole number",
        "float_parsing": "expected a number",
        "bool_parsing": "expected true or false",
        "bool_type": "expected true or false",
        "string_type": "expected text",
        "json_invalid": "expected JSON",
    }.get(kind)
    if words is None:
        return str(problem["msg"])
    text = words.format_map(context)
    return PATTERNS.get(str(context.get("pattern")), text)

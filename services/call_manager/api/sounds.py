"""Files of sound in the store, for the servers that play them."""

from __future__ import annotations

import hashlib
import time
from typing import Annotated

import trio
from fastapi import APIRouter, HTTPException, Path, Request, Response

from services.call_manager.parts import Parts
from services.core.admin import Problem, authorized_router, bytes_of
from services.core.store import sounds

MOST = 20 * 1024 * 1024
"""Bytes of one file: an hour of telephone sound."""
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


async def body_of(request: Request) -> bytes:
    """A file of sound as it is sent. Raises HTTPException 413."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST:
            raise HTTPException(413, f"more than {MOST >> 20} MiB")
    return bytes(data)


def router(parts: Parts) -> APIRouter:
    """``/v1/sounds``."""
    routes = authorized_router(tags=["sounds"])

    @routes.get("/v1/sounds")
    def list_sounds(tenant: str = sounds.SPEC) -> list[str]:  # pyright: ignore[reportUnusedFunction]
        """Digests of the sounds of the spec, or of what a tenant's callers have said."""
        with parts.database.read() as connection:
            return sounds.digests(connection, tenant)

    @routes.get(
        "/v1/sounds/{digest}",
        response_class=Response,
        responses=bytes_of("application/octet-stream") | {404: {"model": Problem}},
    )
    def get_sound(digest: Digest) -> Response:  # pyright: ignore[reportUnusedFunction]
        """The file's bytes."""
        with parts.database.read() as connection:
            data = sounds.get(connection, digest)
        if data is None:
            raise HTTPException(404, f"no sound has the digest {digest}")
        return Response(data, media_type="application/octet-stream")

    @routes.put("/v1/sounds/{digest}", status_code=204)
    async def put_sound(  # pyright: ignore[reportUnusedFunction]
        digest: Digest, request: Request, tenant: str = sounds.SPEC
    ) -> None:
        """Keep a file; its digest is looked at."""
        data = await body_of(request)
        if hashlib.sha256(data).hexdigest() != digest:
            raise HTTPException(422, "the digest is not that of the body")

        def write() -> None:
            with parts.database.write() as connection:
                sounds.put(connection, digest, data, tenant, time.time())

        await trio.to_thread.run_sync(write)

    @routes.delete("/v1/sounds/{digest}", status_code=204, responses={404: {"model": Problem}})
    def delete_sound(digest: Digest) -> None:  # pyright: ignore[reportUnusedFunction]
        with parts.database.write() as connection:
            if not sounds.delete(connection, digest):
                raise HTTPException(404, f"no sound has the digest {digest}")

    return routes

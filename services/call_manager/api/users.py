"""Users: one at a time, and all of a tenant's as a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
import trio
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import JSONResponse

from services.call_manager.api.models import (
    Bulk,
    BulkProblem,
    Extension,
    Limit,
    TenantName,
    TenantUsers,
    UserPatch,
    UserRead,
    UserWrite,
)
from services.call_manager.api.ndjson import Lines
from services.call_manager.parts import Parts
from services.core.admin import Problem, authorized_router
from services.core.configuration import User
from services.core.store import Merged, bulk, users
from services.core.store.users import Source

BATCH = 5000
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}
OWNED: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "A user of the spec, which is changed there"}
}


def router(parts: Parts) -> APIRouter:
    """``/v1/tenants`` and what is below it."""
    routes = authorized_router(tags=["users"])

    @routes.get("/v1/tenants")
    def list_tenants() -> list[TenantUsers]:  # pyright: ignore[reportUnusedFunction]
        """Tenants that have users, or had some from a spec."""
        with parts.database.read() as connection:
            found = users.directories_of(connection)
        return [TenantUsers(name=one.tenant, users=one.users, digest=one.digest) for one in found]

    @routes.get("/v1/tenants/{tenant}/users", responses=NOT_FOUND)
    def list_users(  # pyright: ignore[reportUnusedFunction]
        tenant: TenantName, after: str = "", limit: Limit = 100
    ) -> list[UserRead]:
        """Users by extension, from the one past ``after``; HA1s are not shown."""
        with parts.database.read() as connection:
            found = users.page(connection, tenant, after=after, limit=limit)
        if not found and not after:
            parts.known(tenant)
        return [_shown(user, source) for user, source in found]

    @routes.get("/v1/tenants/{tenant}/users/{extension}", responses=NOT_FOUND)
    def get_user(  # pyright: ignore[reportUnusedFunction]
        tenant: TenantName, extension: Extension
    ) -> UserRead:
        with parts.database.read() as connection:
            return _shown(*_found(users.get(connection, tenant, extension), tenant, extension))

    @routes.put("/v1/tenants/{tenant}/users/{extension}", responses=OWNED)
    async def put_user(  # pyright: ignore[reportUnusedFunction]
        tenant: TenantName, extension: Extension, body: UserWrite
    ) -> UserRead:
        """Write a user, new or not. In force when this is answered."""
        if body.tenant not in (None, tenant) or body.extension not in (None, extension):
            raise HTTPException(422, "tenant and extension have to be those of the path")
        values = body.model_dump(exclude={"tenant", "extension"})
        user = msgspec.convert(values | {"tenant": tenant, "extension": extension}, User)
        return await _write(parts, user)

    @routes.patch("/v1/tenants/{tenant}/users/{extension}", responses=NOT_FOUND | OWNED)
    async def patch_user(  # pyright: ignore[reportUnusedFunction]
        tenant: TenantName, extension: Extension, body: UserPatch
    ) -> UserRead:
        """Change what is given of a user. In force when this is answered."""
        changes = body.model_dump(exclude_unset=True)
        empty = sorted(name for name, value in changes.items() if value is None)
        if empty:
            raise HTTPException(422, f"{', '.join(empty)}: null is no value; leave it out")
        return await _write(parts, None, tenant, extension, changes)

    @routes.delete(
        "/v1/tenants/{tenant}/users/{extension}", status_code=204, responses=NOT_FOUND | OWNED
    )
    async def delete_user(  # pyright: ignore[reportUnusedFunction]
        tenant: TenantName, extension: Extension
    ) -> None:
        """Delete a user; its phones can no longer register."""

        def gone() -> bool:
            with parts.database.write() as connection:
                return users.delete(connection, tenant, extension)

        if not await trio.to_thread.run_sync(gone):
            raise _missing(tenant, extension)
        await parts.users.copy()

    @routes.put(
        "/v1/tenants/{tenant}/users",
        responses={400: {"model": BulkProblem}} | OWNED,
        openapi_extra={
            "requestBody": {
                "required": True,
                "description": "One user a line: `UserWrite` with its extension",
                "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
            }
        },
        response_model=Bulk,
    )
    async def put_users(  # pyright: ignore[reportUnusedFunction]
        tenant: TenantName,
        request: Request,
        replace: Annotated[
            Source | None, Query(description="Remove this source's users that are not sent")
        ] = None,
        digest: Annotated[
            str,
            Query(
                pattern="^([0-9a-f]{64})?$",
                description="SHA-256 of the JSON array of all lines as sent; checked and kept",
            ),
        ] = "",
    ) -> Bulk | JSONResponse:
        """Write many users, all or none. Nothing is changed if one line is wrong.

        A user without HA1s keeps those there are, unless it is the spec that is written. Without
        ``replace=spec`` no user of the spec may be among them.
        """
        result = await _bulk(parts, tenant, request.stream(), replace, digest)
        if isinstance(result, list):
            body = BulkProblem(error=f"{result[0]}; nothing was changed", problems=result)
            return JSONResponse(body.model_dump(), 400)
        await parts.users.copy()
        return Bulk(written=result.written, unchanged=result.unchanged, removed=result.removed)

    return routes


async def _bulk(
    parts: Parts, tenant: str, body: AsyncIterator[bytes], replace: Source | None, digest: str
) -> Merged | list[str]:
    """Stage what arrives, a batch at a time, then merge it; or the problems of its lines."""
    lines = Lines(tenant)
    source: Source = replace or "api"
    stage = bulk(parts.database, tenant, source=source)
    staged = await trio.to_thread.run_sync(stage.__enter__)

    def add(found: list[User]) -> None:
        if source == "api":
            # The spec says all of a user; a list of people often says no passwords.
            with parts.database.read() as connection:
                found = users.with_passwords(connection, tenant, found)
        staged.add(found)

    try:
        async for chunk in body:
            lines.feed(chunk)
            if lines.pending >= BATCH:
                await trio.to_thread.run_sync(add, lines.take())
        lines.end()
        if digest and not lines.problems and lines.digest() != digest:
            lines.problems.append(
                f"the {lines.count} users that arrived are not those of the digest: "
                "the body was cut off, or is in another order"
            )
        if lines.problems:
            return lines.problems
        await trio.to_thread.run_sync(add, lines.take())
        return await trio.to_thread.run_sync(
            lambda: staged.merge(replace=replace is not None, digest=digest)
        )
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(stage.__exit__, None, None, None)


async def _write(
    parts: Parts,
    user: User | None,
    tenant: str = "",
    extension: str = "",
    changes: dict[str, object] | None = None,
) -> UserRead:
    def write() -> UserRead:
        with parts.database.write() as connection:
            new = user
            if new is None:
                old = users.get(connection, tenant, extension)
                if old is None:
                    raise _missing(tenant, extension)
                new = msgspec.convert(msgspec.to_builtins(old[0]) | (changes or {}), User)
            users.put(connection, new)
            return _shown(*_found(users.get(connection, new.tenant, new.extension), "", ""))

    written = await trio.to_thread.run_sync(write)
    await parts.users.copy()
    return written


def _found(row: tuple[User, Source] | None, tenant: str, extension: str) -> tuple[User, Source]:
    if row is None:
        raise _missing(tenant, extension)
    return row


def _missing(tenant: str, extension: str) -> HTTPException:
    return HTTPException(404, f"{tenant} has no user {extension}")


def _shown(user: User, source: Source) -> UserRead:
    values = msgspec.to_builtins(user)
    for hidden in ("ha1_md5", "ha1_sha256"):
        values.pop(hidden, None)
    return UserRead(**values, source=source, can_register=bool(user.ha1_md5 or user.ha1_sha256))

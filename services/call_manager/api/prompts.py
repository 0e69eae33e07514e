"""Prompts that are recorded by phone, for IVR servers and for administrators."""

from __future__ import annotations

import hashlib
import time
from typing import Annotated, Any

import trio
from fastapi import APIRouter, HTTPException, Path, Query, Request
from pydantic import BaseModel

from services.call_manager.api.models import TenantName
from services.call_manager.api.sounds import body_of
from services.call_manager.parts import Parts
from services.call_manager.voicemail.sound import SoundError, compress
from services.core.admin import Problem, authorized_router
from services.core.configuration import Prompts, RecordedPrompt
from services.core.store import sounds

ALL = "/v1/tenants/{tenant}/prompts"
ONE = f"{ALL}/{{name}}"
PromptName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}


class Prompt(BaseModel):
    """``digest`` is of the sound that is heard instead of the spec's, empty where that is heard.

    ``by`` is who has recorded it, ``at`` when, a Unix time.
    """

    name: str
    number: str
    digest: str = ""
    by: str = ""
    at: float = 0.0


def router(parts: Parts) -> APIRouter:
    """``/v1/tenants/{tenant}/prompts``."""
    routes = authorized_router(tags=["prompts"])

    @routes.get(ALL, responses=NOT_FOUND)
    async def list_prompts(tenant: TenantName) -> list[Prompt]:  # pyright: ignore[reportUnusedFunction]
        """Those that the spec lets users record, by number."""
        rules = _rules(parts, tenant)
        found = await parts.prompts.of(tenant)
        none = RecordedPrompt(digest="")
        listed: list[Prompt] = []
        for number, name in sorted(rules.numbers.items(), key=lambda pair: (int(pair[0]), pair)):
            one = found.get((tenant, name), none)
            listed.append(Prompt(name=name, number=number, digest=one.digest, by=one.by, at=one.at))
        return listed

    @routes.put(ONE, status_code=204, responses=NOT_FOUND)
    async def put_prompt(  # pyright: ignore[reportUnusedFunction]
        tenant: TenantName,
        name: PromptName,
        request: Request,
        by: Annotated[str, Query(max_length=40)] = "",
    ) -> None:
        """The body is a sound that callers hear from now on instead of the spec's."""
        _known(parts, tenant, name)
        data = await body_of(request)
        try:
            # As it is compressed it is not kept: what menus play is heard by many.
            await trio.to_thread.run_sync(compress, data)
        except SoundError as error:
            raise HTTPException(422, f"the sound: {error}") from None
        digest, now = hashlib.sha256(data).hexdigest(), time.time()

        def write() -> None:
            with parts.database.write() as connection:
                sounds.put(connection, digest, data, tenant, now)

        await trio.to_thread.run_sync(write)
        await parts.prompts.put(tenant, name, RecordedPrompt(digest=digest, by=by, at=now))

    @routes.delete(ONE, status_code=204, responses=NOT_FOUND)
    async def reset_prompt(tenant: TenantName, name: PromptName) -> None:  # pyright: ignore[reportUnusedFunction]
        """Callers hear again what the spec has."""
        _known(parts, tenant, name)
        await parts.prompts.reset(tenant, name)

    return routes


def _rules(parts: Parts, tenant: str) -> Prompts:
    parts.known(tenant)
    picture = parts.state.picture
    found = picture.tenants if picture is not None else ()
    return next((one.prompts for one in found if one.name == tenant), Prompts())


def _known(parts: Parts, tenant: str, name: str) -> None:
    """Raises HTTPException 404."""
    names = _rules(parts, tenant).numbers.values()
    if name not in names:
        known = ", ".join(sorted(names)) or "none"
        text = f"{tenant} has no prompt {name} that is recorded by phone; there is {known}"
        raise HTTPException(404, text)

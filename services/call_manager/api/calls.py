"""Calls that are up, and those that ended."""

from __future__ import annotations

import logging
from typing import Annotated

import trio
from fastapi import APIRouter, HTTPException, Query

from services.call_manager import control, ending, recording
from services.call_manager.api.models import (
    CallUp,
    Ending,
    FinishedCall,
    Limit,
    Quality,
    Recorded,
    Ways,
)
from services.call_manager.balancer import carrier
from services.call_manager.calls import Call
from services.call_manager.parts import Parts
from services.core.admin import Problem, authorized_router
from services.core.store import CallRecord, calls

log = logging.getLogger(__name__)

REASON = r"^[a-z0-9][a-z0-9 -]{0,63}$"


def router(parts: Parts) -> APIRouter:
    """``/v1/calls`` and ``/v1/events``."""
    routes = authorized_router(tags=["calls"])

    @routes.get("/v1/calls", responses={404: {"model": Problem}})
    async def list_calls(  # pyright: ignore[reportUnusedFunction]
        tenant: str = "", after: str = "", limit: Annotated[int, Query(ge=1)] = 100_000
    ) -> list[CallUp]:
        """The calls of this Call Manager that are up, by Call-ID, past ``after``."""
        if tenant:
            parts.known(tenant)
        found = sorted(
            key
            for key, call in parts.calls.view.up.items()
            if key > after and tenant in ("", call.started.tenant)
        )
        return [_up(parts.calls.view.up[key], parts) for key in found[:limit]]

    @routes.delete("/v1/calls/{call_id:path}", responses={404: {"model": Problem}})
    async def end_call(  # pyright: ignore[reportUnusedFunction]
        call_id: str,
        reason: Annotated[str, Query(pattern=REASON)] = "ended by an administrator",
        media: str = "",
    ) -> Ending:
        """End a call: BYE to both sides, or CANCEL while it rings.

        ``media`` is the media server that says so: one that the call has left has no say.
        """
        up = parts.calls.view.up.get(call_id)
        if media and up is not None and up.moved is not None:
            there = carrier(parts.state.media, up.media)
            if there is not None and there.name != media:
                raise HTTPException(404, f"the media of {call_id} are on {there.name} now")
        result = await ending.end_call(parts.calls, parts.rpc, parts.settings, call_id, reason)
        if result is None:
            raise HTTPException(404, f"no call {call_id} is up here")
        return Ending(id=call_id, result=result)

    @routes.post(
        "/v1/calls/{call_id:path}/recording",
        responses={404: {"model": Problem}, 409: {"model": Problem}},
    )
    async def record_call(  # pyright: ignore[reportUnusedFunction]
        call_id: str, action: recording.Action = "start"
    ) -> Recorded:
        """Record a call from now on, or no longer; done again it changes nothing.

        What is recorded between a start and a stop is a recording of its own.
        """
        call = parts.calls.view.up.get(call_id)
        if call is None:
            raise HTTPException(404, f"no call {call_id} is up here")
        server = carrier(parts.state.media, call.media)
        if server is None:
            raise HTTPException(409, f"call {call_id} is on no media server")
        dialogs = await control.dialogs(parts.rpc, call_id)
        about = {
            "tag": dialogs[0].tag if dialogs else "",
            "tenant": call.started.tenant,
            "caller": call.started.caller,
            "callee": call.started.callee,
        }
        try:
            await recording.command(action, server.control, call_id, about, parts.settings.address)
        except recording.RecordingError as error:
            raise HTTPException(409, str(error)) from None
        log.info("call %s: %s recording on %s", call_id, action, server.name)
        return Recorded(id=call_id, server=server.name, recording=action == "start")

    @routes.put("/v1/ways", status_code=204)
    async def put_ways(body: Ways) -> None:  # pyright: ignore[reportUnusedFunction]
        """An application server tells the ways of calls so far, for their records."""
        for call_id, way in body.calls.items():
            parts.calls.tell_way(call_id, tuple(way))

    @routes.get("/v1/events")
    async def list_events(  # pyright: ignore[reportUnusedFunction]
        after: Annotated[int, Query(ge=0)] = 0,
        limit: Limit = 100,
        tenant: str = "",
        call: str = "",
    ) -> list[FinishedCall]:
        """Finished calls in the order they were stored, past number ``after``."""

        def read() -> list[CallRecord]:
            with parts.database.read() as connection:
                return calls.page(connection, after=after, limit=limit, tenant=tenant, call=call)

        return [_finished(record) for record in await trio.to_thread.run_sync(read)]

    return routes


def _up(call: Call, parts: Parts) -> CallUp:
    started, answered = call.started, call.answered
    app = next((held[2:] for held in call.held if held.startswith("a:")), "")
    return CallUp(
        id=started.call,
        tenant=started.tenant,
        direction=started.direction,
        caller=started.caller,
        callee=started.callee,
        trunk=started.trunk,
        media=call.media,
        server=started.server,
        started=started.time,
        answered=answered.time if answered else None,
        answered_by=answered.by if answered else "",
        app=app,
        within=started.within,
        way=list(parts.calls.ways.get(started.call, ())),
    )


def _finished(record: CallRecord) -> FinishedCall:
    quality = record.quality
    return FinishedCall(
        number=record.number,
        id=record.call,
        tenant=record.tenant,
        server=record.server,
        direction=record.direction,
        caller=record.caller,
        callee=record.callee,
        answered_by=record.answered_by,
        trunk=record.trunk,
        media=record.media,
        started=record.started,
        answered=record.answered,
        ended=record.ended,
        code=record.code,
        reason=record.reason,
        ended_by=record.ended_by,
        duration=record.duration,
        within=record.within,
        way=list(record.way),
        quality=Quality(mos=quality.mos, loss=quality.loss, jitter=quality.jitter)
        if quality
        else None,
    )

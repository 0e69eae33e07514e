"""Serves an application with hypercorn on trio."""

from __future__ import annotations

import logging
from typing import Any

import trio
from hypercorn import trio as hypercorn_trio
from hypercorn.config import Config

from services.core.admin.guard import Application

STOP_WITHIN = 2.0
KEEP_ALIVE = 75.0
"""Seconds: longer than clients keep an idle connection (httpx: 5), for one that both give up at the
same moment breaks the request that is just on its way."""


async def serve(
    app: Application,
    address: str,
    port: int,
    *,
    stop: trio.Event | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``app`` until ``stop`` is set; ``task_status.started`` gets the base URL.

    Requests that run when it is set have `STOP_WITHIN` seconds; a cancellation cuts them. Raises
    OSError if the address cannot be bound.
    """
    config = Config()
    host = f"[{address}]" if ":" in address else address
    config.bind = [f"{host}:{port}"]
    config.graceful_timeout = STOP_WITHIN
    config.keep_alive_timeout = KEEP_ALIVE
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    # hypercorn's types leave dict and Callable without parameters.
    hypercorn: Any = hypercorn_trio

    async def run(task_status: trio.TaskStatus[list[str]]) -> None:
        trigger = stop.wait if stop is not None else trio.sleep_forever
        await hypercorn.serve(
            app, config, mode="asgi", shutdown_trigger=trigger, task_status=task_status
        )

    async with trio.open_nursery() as nursery:
        binds = await nursery.start(run)
        task_status.started(binds[0])

"""The engine's own HTTP API, on its Unix socket.

====================  =============================================================
``GET /engine``       `About`
``POST /engine/stop``  the engine ends, and its tasks go on
``GET /jobs``         list of `JobStatus`
``PUT /jobs/<id>``    body `ResolvedJob`
``DELETE /jobs/<id>``  returns when the job has stopped
====================  =============================================================

Errors are ``{"error": text}``.
"""

from __future__ import annotations

from typing import Any

import msgspec
import trio

from pbxctl.engines.engine import EngineError
from pbxctl.engines.local.about import About
from pbxctl.engines.local.http import Reply, Request
from pbxctl.engines.local.jobfile.model import ResolvedJob
from pbxctl.engines.local.supervisor import Supervisor


class Api:
    """Answers; sets ``stop`` when it is told to end the engine."""

    def __init__(self, supervisor: Supervisor, about: About, stop: trio.Event) -> None:
        self._supervisor = supervisor
        self._about = about
        self._stop = stop

    async def ask(self, request: Request) -> Reply:
        """The answer to one request."""
        try:
            return _json(200, await self._do(request))
        except EngineError as error:
            return _json(409, {"error": str(error)})
        except msgspec.MsgspecError as error:
            return _json(400, {"error": f"{request.path}: {error}"})

    async def _do(self, request: Request) -> Any:
        job_id = request.path.removeprefix("/jobs/")
        match request.method, request.path:
            case "GET", "/engine":
                return self._about
            case "POST", "/engine/stop":
                self._stop.set()
                return None
            case "GET", "/jobs":
                return self._supervisor.jobs()
            case "PUT", path if path != job_id:
                job = msgspec.json.decode(request.body, type=ResolvedJob)
                with trio.CancelScope(shield=True):
                    return await self._supervisor.register(job)
            case "DELETE", path if path != job_id:
                with trio.CancelScope(shield=True):
                    return await self._supervisor.deregister(job_id)
            case method, path:
                raise EngineError(f"the engine has no {method} {path}")


def _json(status: int, value: Any) -> Reply:
    return Reply(
        status=status,
        body=msgspec.json.encode(value),
        headers=((b"content-type", b"application/json"),),
    )

"""Starts and stops the recording of a call that is up, at its media server (rtpengine's ng)."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlencode

from services.core.ng import NgError, NgTimeoutError, open_ng

PATIENCE = 2.0
Action = Literal["start", "stop"]


class RecordingError(Exception):
    """The media server did not do it; the message says why."""


async def command(
    action: Action, control: str, call_id: str, about: dict[str, str], source: str
) -> None:
    """Record ``call_id`` from now on, or no longer; done twice it changes nothing.

    ``control`` is the server's ``address:port``, ``source`` our address. ``about`` goes into the
    recording's metadata: tenant, caller, callee and the caller's ``tag``. Raises RecordingError.
    """
    address, _, port = control.rpartition(":")
    parameters = {"call-id": call_id}
    if action == "start":
        parameters["metadata"] = urlencode({name: text for name, text in about.items() if text})
    try:
        async with open_ng(address.strip("[]"), int(port), source) as ng:
            await ng.command(f"{action} recording", parameters, deadline=PATIENCE)
    except NgTimeoutError as error:
        raise RecordingError(f"the media server does not answer: {error}") from None
    except NgError as error:
        raise RecordingError(f"the media server refused: {error}") from None

"""``pbx-media rtpengine`` and ``pbx-media agent``: the two tasks of the media role."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import trio

from services.core.settings import SettingsError, from_environment
from services.media import rtpengine
from services.media.service import Agent
from services.media.settings import MediaSettings

USAGE = "usage: pbx-media rtpengine | agent"


def main() -> None:
    """Runs the task that the first argument names; what stops it is one line on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    task = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        if task == "rtpengine":
            rtpengine.run(from_environment(MediaSettings))
        elif task == "agent":
            agent(from_environment(MediaSettings))
        else:
            sys.exit(USAGE)
    except (SettingsError, rtpengine.StartError) as error:
        sys.exit(f"pbx-media {task}: {error}")


def agent(settings: MediaSettings) -> None:
    """Runs the agent. Raises StartError for an address or port that it cannot have."""
    found = rtpengine.problems(settings)
    if found:
        raise rtpengine.StartError("; ".join(found))
    reasons: list[str] = []
    try:
        trio.run(Agent(settings).run)
    except* OSError as group:
        reasons = [error.strerror or str(error) for error in _leaves(group)]
    if reasons:
        at = rtpengine.host_port(settings.address, settings.admin_port)
        raise rtpengine.StartError(f"cannot serve on {at}: {'; '.join(reasons)}")


def _leaves(group: BaseExceptionGroup[OSError]) -> Iterator[OSError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


if __name__ == "__main__":
    main()

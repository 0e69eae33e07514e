"""``pbx-live redis`` and ``pbx-live agent``: the two tasks of the live-state role."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

from services.core.settings import SettingsError, from_environment
from services.live.redis import become_redis
from services.live.settings import LiveSettings

USAGE = "usage: pbx-live redis | agent"


def main() -> None:
    """Runs the task that the first argument names; what stops it is one line on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpcore", "hypercorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    task = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        if task == "redis":
            become_redis(from_environment(LiveSettings))
        elif task == "agent":
            _agent(from_environment(LiveSettings))
        else:
            sys.exit(USAGE)
    except* (SettingsError, OSError) as group:
        sys.exit(f"pbx-live {task}: {'; '.join(map(str, _leaves(group)))}")


def _agent(settings: LiveSettings) -> None:
    # Imported here: the other task has no use for it, and starts in a tenth of the time.
    import trio

    from services.live.service import Agent

    trio.run(Agent(settings).run)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


if __name__ == "__main__":
    main()

"""``pbx-database patroni`` and ``pbx-database agent``: the two tasks of the database role."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

from services.core.settings import SettingsError, from_environment
from services.database.patroni import become_patroni
from services.database.settings import DatabaseSettings

USAGE = "usage: pbx-database patroni | agent"


def main() -> None:
    """Runs the task that the first argument names; what stops it is one line on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpcore", "hypercorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    task = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        if task == "patroni":
            become_patroni(from_environment(DatabaseSettings))
        elif task == "agent":
            _agent(from_environment(DatabaseSettings))
        else:
            sys.exit(USAGE)
    except* (SettingsError, OSError) as group:
        sys.exit(f"pbx-database {task}: {'; '.join(map(str, _leaves(group)))}")


def _agent(settings: DatabaseSettings) -> None:
    # Imported here: the other task has no use for it, and starts in a tenth of the time.
    import trio

    from services.database.service import Agent

    trio.run(Agent(settings).run)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


if __name__ == "__main__":
    main()

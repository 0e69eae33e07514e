"""``pbx-call-manager prepare``, ``agent`` and ``kamailio``: the three tasks of the role."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import trio

from services.call_manager import log
from services.call_manager.first_start import wait_for_media
from services.call_manager.prepare import prepare
from services.call_manager.routing.launch import become_kamailio
from services.call_manager.service import Agent
from services.call_manager.settings import CallManagerSettings
from services.call_manager.tables_repair import TablesDamagedError
from services.core.failover.priority import favour
from services.core.settings import SettingsError, from_environment
from services.core.store import StoreError

USAGE = "usage: pbx-call-manager prepare | agent | kamailio"


def main() -> None:
    """Runs the task that the first argument names; what stops it is one line on stderr."""
    log.configure()
    task = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        if task == "prepare":
            prepare(from_environment(CallManagerSettings))
        elif task == "agent":
            settings = from_environment(CallManagerSettings)
            _favour(settings)
            trio.run(Agent(settings).run)
        elif task == "kamailio":
            settings = from_environment(CallManagerSettings)
            wait_for_media(settings)
            _favour(settings)
            become_kamailio(settings)
        else:
            sys.exit(USAGE)
    except* (SettingsError, StoreError, OSError, TablesDamagedError) as group:
        sys.exit(f"pbx-call-manager {task}: {'; '.join(map(str, _leaves(group)))}")


def _favour(settings: CallManagerSettings) -> None:
    """Where the VIP may move, what else runs on the host must not be what moves it.

    The agent too: a thread that has been put off while it holds Python holds up the one with
    real-time priority.
    """
    if settings.peers:
        favour()


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


if __name__ == "__main__":
    main()

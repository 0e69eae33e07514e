"""The first start of a Call Manager: a short wait for media servers, before Kamailio reads them."""

from __future__ import annotations

import time

from services.call_manager.settings import CallManagerSettings
from services.core.store import Database, media_sets

PATIENCE = 6.0
SETTLE = 1.0
POLL = 0.1


def wait_for_media(settings: CallManagerSettings) -> None:
    """Return when media servers are known, at once after the first start; seconds at most.

    Kamailio 5.6 reads its rtpengine table at start and then once in 10 s at most. On a new cluster
    everything starts together, and the table would be read empty just before it is filled.
    Raises StoreError where the database cannot be read.
    """
    database = Database(settings.own_database_url)
    try:
        known = _known(database)
        if known:
            return
        end = time.monotonic() + PATIENCE
        settled = end
        while time.monotonic() < min(end, settled):
            time.sleep(POLL)
            now = _known(database)
            if now != known:
                known, settled = now, time.monotonic() + SETTLE
    finally:
        database.close()


def _known(database: Database) -> dict[int, str]:
    with database.read() as connection:
        return media_sets.read(connection)

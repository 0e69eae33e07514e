"""Kamailio's ``rtpengine`` table: which control address belongs to which set number."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from services.core.store.schema import rtpengine


def put(connection: Connection, sets: Mapping[int, str]) -> bool:
    """Make the table hold exactly ``sets`` (number to ``udp:host:port``); False if it did."""
    if read(connection) == dict(sets):
        return False
    connection.execute(sa.delete(rtpengine))
    if sets:
        rows = [{"setid": number, "url": url} for number, url in sorted(sets.items())]
        connection.execute(sa.insert(rtpengine), rows)
    return True


def read(connection: Connection) -> dict[int, str]:
    """What the table holds."""
    rows = connection.execute(sa.select(rtpengine.c.setid, rtpengine.c.url))
    return {row.setid: row.url for row in rows}

"""The little in which the two databases' SQL differs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from services.core.store.schema import counters


def insert(connection: Connection, table: sa.Table) -> Any:
    """An INSERT that knows ON CONFLICT; both dialects spell it the same."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def next_number(connection: Connection, counter: str, count: int = 1) -> int:
    """The first of ``count`` new numbers.

    The counter's row stays locked until the transaction ends, so numbers become visible in order:
    who has read up to one never misses a smaller one.
    """
    row = connection.execute(
        sa.update(counters)
        .where(counters.c.name == counter)
        .values(value=counters.c.value + count)
        .returning(counters.c.value)
    )
    return int(row.scalar_one()) - count + 1

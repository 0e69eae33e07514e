"""Kamailio's ``location`` table, read for lists: who is registered, page by page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from services.core.store.schema import location


class Binding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One contact of an address of record (RFC 3261 section 10.3).

    ``contact`` is what the phone said, ``received`` where its packets come from, if not there.
    ``expires`` and ``modified`` are Unix times. ``id`` is Kamailio's and unique.
    """

    id: str
    extension: str
    domain: str
    contact: str
    expires: float
    received: str = ""
    path: str = ""
    user_agent: str = ""
    socket: str = ""
    call_id: str = ""
    instance: str = ""
    modified: float = 0.0


def page(
    connection: Connection,
    now: float,
    *,
    domains: list[str] | None = None,
    extension: str = "",
    after: str = "",
    limit: int = 100,
) -> list[Binding]:
    """Up to ``limit`` bindings that are valid at ``now``, by Kamailio's id, past ``after``."""
    table = location.c
    query = sa.select(location).where(table.ruid > after, table.expires > _time(now))
    if domains is not None:
        query = query.where(table.domain.in_(domains))
    if extension:
        query = query.where(table.username == extension)
    return [_binding(row) for row in connection.execute(query.order_by(table.ruid).limit(limit))]


def count(connection: Connection, now: float) -> int:
    """How many bindings are valid at ``now``."""
    query = sa.select(sa.func.count()).where(location.c.expires > _time(now))
    return int(connection.execute(query).scalar_one())


def _time(seconds: float) -> datetime:
    """As Kamailio writes it: local time without a zone."""
    return datetime.fromtimestamp(seconds)  # noqa: DTZ006 - it has none


def _binding(row: Any) -> Binding:
    return Binding(
        id=row.ruid,
        extension=row.username,
        domain=row.domain or "",
        contact=row.contact,
        expires=_unix(row.expires),
        received=row.received or "",
        path=row.path or "",
        user_agent=row.user_agent,
        socket=row.socket or "",
        call_id=row.callid,
        instance=(row.instance or "").strip('<>"'),
        modified=_unix(row.last_modified),
    )


def _unix(value: datetime) -> float:
    return value.astimezone(UTC).timestamp()

"""The index of recordings.

Files of calls are on the media servers, what menus have recorded is in the store (`sounds`).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from services.core.store.calls import CallRecord
from services.core.store.dialect import insert
from services.core.store.schema import recordings


class Recording(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One recorded call. ``path`` is on ``server``, or where a menu has recorded it the sound's in
    the admin API; ``started`` is a Unix time.

    ``duration`` is in seconds, ``size`` in bytes, ``keep_until`` a Unix time, 0 for ever.
    """

    id: str
    call: str
    server: str
    path: str
    started: float
    tenant: str = ""
    caller: str = ""
    callee: str = ""
    duration: float = 0.0
    size: int = 0
    keep_until: float = 0.0


_decode = msgspec.json.Decoder(Recording).decode


def put(connection: Connection, recording: Recording) -> None:
    """Write one entry of the index, new or not."""
    values = {
        "call": recording.call,
        "tenant": recording.tenant,
        "server": recording.server,
        "started": recording.started,
        "details": msgspec.json.encode(recording),
    }
    statement = insert(connection, recordings).values(id=recording.id, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))


def attribute(connection: Connection, known: Iterable[CallRecord]) -> int:
    """Tell entries without a tenant whose calls they are; says how many."""
    found = {record.call: record for record in known if record.tenant}
    query = sa.select(recordings.c.details).where(
        recordings.c.call.in_(found), recordings.c.tenant == ""
    )
    entries = [_decode(row) for row in connection.execute(query).scalars()] if found else []
    for entry in entries:
        call = found[entry.call]
        put(
            connection,
            msgspec.structs.replace(
                entry, tenant=call.tenant, caller=call.caller, callee=call.callee
            ),
        )
    return len(entries)


def get(connection: Connection, recording_id: str) -> Recording | None:
    """One entry, or None."""
    row = connection.execute(
        sa.select(recordings.c.details).where(recordings.c.id == recording_id)
    ).scalar_one_or_none()
    return None if row is None else _decode(row)


def page(
    connection: Connection,
    *,
    tenant: str = "",
    call: str = "",
    server: str = "",
    after: str = "",
    limit: int = 100,
) -> list[Recording]:
    """Up to ``limit`` entries by id, past ``after``."""
    query = sa.select(recordings.c.details).where(recordings.c.id > after)
    for column, value in (("tenant", tenant), ("call", call), ("server", server)):
        if value:
            query = query.where(recordings.c[column] == value)
    rows = connection.execute(query.order_by(recordings.c.id).limit(limit)).scalars()
    return [_decode(row) for row in rows]


def delete(connection: Connection, recording_id: str) -> bool:
    """Delete one entry; False if it was not there."""
    found = sa.delete(recordings).where(recordings.c.id == recording_id)
    return connection.execute(found).rowcount > 0

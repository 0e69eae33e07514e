"""Finished calls, one row each."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from services.core.events import Direction, Party, Quality
from services.core.store.dialect import next_number
from services.core.store.schema import calls


class CallRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call from start to end. Times are Unix times, 0 where it did not happen.

    ``event`` is the id of the event that ended it: a record with the same one is the same record,
    of which that counts that knows how the call began.
    ``number`` counts up in the order of storing, 0 before that. ``duration`` is seconds of talk.
    ``within`` is the Call-ID of the call that an application server made this one for; ``way`` is
    what a call came by at such a server.
    """

    event: str
    call: str
    tenant: str
    server: str
    ended: float
    number: int = 0
    started: float = 0.0
    answered: float = 0.0
    direction: Direction | None = None
    caller: str = ""
    callee: str = ""
    answered_by: str = ""
    trunk: str = ""
    media: str = ""
    code: int = 0
    reason: str = ""
    ended_by: Party = "system"
    duration: float = 0.0
    quality: Quality | None = None
    within: str = ""
    way: tuple[str, ...] = ()


_decode = msgspec.json.Decoder(CallRecord).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def add(connection: Connection, records: Sequence[CallRecord]) -> int:
    """Store those that are not there yet, and complete what is there; says how many are new."""
    unique: dict[str, CallRecord] = {}
    for record in records:
        if record.event not in unique or not unique[record.event].started:
            unique[record.event] = record
    _drop_known(connection, unique)
    if not unique:
        return 0
    first = next_number(connection, "calls", len(unique))
    # Asked again behind the counter's lock: another Call Manager may have stored some just now.
    _drop_known(connection, unique)
    rows = [
        {
            "number": number,
            "event": record.event,
            "call": record.call,
            "ended": record.ended,
            "tenant": record.tenant,
            "record": _encode(msgspec.structs.replace(record, number=0)),
        }
        for number, record in enumerate(unique.values(), first)
    ]
    if rows:
        connection.execute(sa.insert(calls), rows)
    return len(rows)


def _drop_known(connection: Connection, found: dict[str, CallRecord]) -> None:
    """Take out what is stored; where that does not know the call's beginning, complete it."""
    query = sa.select(calls.c.event, calls.c.record).where(calls.c.event.in_(found))
    for event, stored in connection.execute(query).all():
        record = found.pop(event)
        if record.started and not _decode(stored).started:
            connection.execute(
                sa.update(calls)
                .where(calls.c.event == event)
                .values(
                    tenant=record.tenant, record=_encode(msgspec.structs.replace(record, number=0))
                )
            )


def find(connection: Connection, events: Sequence[str]) -> list[CallRecord]:
    """Records by the id of the event that ended the call; those that are not there are left out."""
    query = sa.select(calls.c.number, calls.c.record).where(calls.c.event.in_(events))
    rows = connection.execute(query)
    return [msgspec.structs.replace(_decode(row.record), number=row.number) for row in rows]


def page(
    connection: Connection,
    *,
    after: int = 0,
    limit: int = 100,
    tenant: str = "",
    call: str = "",
) -> list[CallRecord]:
    """Up to ``limit`` finished calls past number ``after``, in the order they were stored."""
    query = sa.select(calls.c.number, calls.c.record).where(calls.c.number > after)
    if tenant:
        query = query.where(calls.c.tenant == tenant)
    if call:
        query = query.where(calls.c.call == call)
    rows = connection.execute(query.order_by(calls.c.number).limit(limit))
    return [msgspec.structs.replace(_decode(row.record), number=row.number) for row in rows]

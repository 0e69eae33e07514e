"""Files of sound: what menus play, and what callers have said. By the SHA-256 of their bytes."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from services.core.menus import recording_id
from services.core.store import recordings
from services.core.store.dialect import insert
from services.core.store.schema import sounds

SPEC = ""
"""The tenant of sounds that a spec brings: apply removes those that none names any more."""


def put(connection: Connection, digest: str, data: bytes, tenant: str, now: float) -> None:
    """Keep a sound; once is enough. ``now`` is a Unix time.

    What a tenant's callers have said and a spec names too is the spec's from then on.
    """
    values = {"digest": digest, "tenant": tenant, "made": now, "data": data}
    statement = insert(connection, sounds).values(**values)
    if tenant == SPEC:
        once = statement.on_conflict_do_update(index_elements=["digest"], set_={"tenant": SPEC})
    else:
        once = statement.on_conflict_do_nothing(index_elements=["digest"])
    connection.execute(once)


def get(connection: Connection, digest: str) -> bytes | None:
    """A sound's bytes, or None."""
    return connection.execute(
        sa.select(sounds.c.data).where(sounds.c.digest == digest)
    ).scalar_one_or_none()


def digests(connection: Connection, tenant: str = SPEC) -> list[str]:
    """The sounds of a tenant, or of the spec, in order."""
    query = sa.select(sounds.c.digest).where(sounds.c.tenant == tenant)
    return list(connection.execute(query.order_by(sounds.c.digest)).scalars())


def delete(connection: Connection, digest: str) -> bool:
    """Remove a sound; False if it was not there."""
    return connection.execute(sa.delete(sounds).where(sounds.c.digest == digest)).rowcount > 0


def expire(connection: Connection, before: float, kept: Collection[str] = ()) -> int:
    """Remove what callers have said before a Unix time, but for the digests in ``kept``, with its
    entries in the index of recordings; says how many."""
    query = sa.select(sounds.c.digest).where(sounds.c.tenant != SPEC, sounds.c.made < before)
    old = [digest for digest in connection.execute(query).scalars() if digest not in kept]
    for digest in old:
        delete(connection, digest)
        recordings.delete(connection, recording_id(digest))
    return len(old)

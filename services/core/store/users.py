"""Users: rows whose ``routing`` column is what routing reads, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from services.core.configuration import User, encode
from services.core.store.dialect import insert, next_number
from services.core.store.errors import OwnedBySpecError
from services.core.store.schema import counters, deleted_users, directories, meta, users

Source = Literal["spec", "api"]

BATCH = 5000

_decode = msgspec.json.Decoder(User).decode


class Changed(NamedTuple):
    """A user as it is now, or ``routing`` None where it was deleted."""

    tenant: str
    extension: str
    routing: bytes | None


class Mark(NamedTuple):
    """Where a reader of changes is: which database, and up to which number."""

    store: str
    change: int


START = Mark("", 0)


class Directory(NamedTuple):
    """A tenant's users: how many, and the digest of those the spec gave last, or empty."""

    tenant: str
    users: int
    digest: str


def get(connection: Connection, tenant: str, extension: str) -> tuple[User, Source] | None:
    """One user and where it comes from, or None."""
    row = connection.execute(
        sa.select(users.c.routing, users.c.source).where(_is(users, tenant, extension))
    ).one_or_none()
    return None if row is None else (_decode(row.routing), row.source)


def page(
    connection: Connection, tenant: str, *, after: str = "", limit: int = 100
) -> list[tuple[User, Source]]:
    """Up to ``limit`` users of a tenant, by extension, from the one past ``after``."""
    rows = connection.execute(
        sa.select(users.c.routing, users.c.source)
        .where(users.c.tenant == tenant, users.c.extension > after)
        .order_by(users.c.extension)
        .limit(limit)
    )
    return [(_decode(row.routing), row.source) for row in rows]


def put(connection: Connection, user: User, *, source: Source = "api") -> bool:
    """Write one user; False if it was so already.

    Raises OwnedBySpecError where the user is the spec's and ``source`` is not.
    """
    routing = encode(user)
    where = _is(users, user.tenant, user.extension)
    before = connection.execute(
        sa.select(users.c.routing, users.c.source).where(where)
    ).one_or_none()
    if source == "api" and before is not None:
        if before.source == "spec":
            raise OwnedBySpecError(user.tenant, [user.extension])
        if before.routing == routing:
            return False
    change = next_number(connection, "users")
    connection.execute(sa.delete(deleted_users).where(_is(deleted_users, *_key(user))))
    statement = insert(connection, users).values(
        tenant=user.tenant,
        extension=user.extension,
        source=source,
        change=change,
        routing=routing,
    )
    values: dict[str, object] = {"change": change, "routing": routing}
    if source == "spec":
        values["source"] = source
    connection.execute(
        statement.on_conflict_do_update(index_elements=["tenant", "extension"], set_=values)
    )
    return True


def with_passwords(connection: Connection, tenant: str, found: list[User]) -> list[User]:
    """``found`` as it is, but users without HA1s get those of the store, if it has any."""
    bare = [user.extension for user in found if not (user.ha1_md5 or user.ha1_sha256)]
    if not bare:
        return found
    rows = connection.execute(
        sa.select(users.c.routing).where(users.c.tenant == tenant, users.c.extension.in_(bare))
    )
    stored = {user.extension: user for user in (_decode(row.routing) for row in rows)}
    return [
        msgspec.structs.replace(user, ha1_md5=old.ha1_md5, ha1_sha256=old.ha1_sha256)
        if not (user.ha1_md5 or user.ha1_sha256) and (old := stored.get(user.extension))
        else user
        for user in found
    ]


def delete(connection: Connection, tenant: str, extension: str) -> bool:
    """Delete one user; False if it was not there. Raises OwnedBySpecError for one of the spec's."""
    row = connection.execute(
        sa.delete(users).where(_is(users, tenant, extension)).returning(users.c.source)
    ).one_or_none()
    if row is None:
        return False
    if row.source == "spec":
        raise OwnedBySpecError(tenant, [extension])  # which takes the transaction back
    connection.execute(
        sa.insert(deleted_users).values(
            tenant=tenant, extension=extension, change=next_number(connection, "users")
        )
    )
    return True


def directories_of(connection: Connection) -> list[Directory]:
    """Every tenant that has users or a digest, by name."""
    counted = connection.execute(
        sa.select(users.c.tenant, sa.func.count()).group_by(users.c.tenant)
    )
    counts = {tenant: int(count) for tenant, count in counted}
    rows = connection.execute(sa.select(directories.c.tenant, directories.c.digest))
    digests = {row.tenant: row.digest for row in rows}
    return [
        Directory(tenant, counts.get(tenant, 0), digests.get(tenant, ""))
        for tenant in sorted(counts.keys() | digests.keys())
    ]


def mark(connection: Connection) -> Mark:
    """The newest change. Read it before the changes: what comes between is then read twice."""
    store = connection.execute(sa.select(meta.c.value).where(meta.c.name == "store"))
    change = connection.execute(sa.select(counters.c.value).where(counters.c.name == "users"))
    return Mark(str(store.scalar_one()), int(change.scalar_one()))


def changes(connection: Connection, since: int) -> Iterator[Changed]:
    """Every user that was written or deleted after change ``since``, streamed.

    By tenant and extension; the deleted ones last. From 0 it is every user there is.
    """
    streaming = connection.execution_options(stream_results=True, yield_per=BATCH)
    order = (users.c.tenant, users.c.extension)
    written = sa.select(users.c.tenant, users.c.extension, users.c.routing).order_by(*order)
    if since:
        written = written.where(users.c.change > since)
    for partition in streaming.execute(written).partitions():
        for tenant, extension, routing in partition:
            yield Changed(tenant, extension, routing)
    if since:
        gone = sa.select(deleted_users.c.tenant, deleted_users.c.extension).where(
            deleted_users.c.change > since
        )
        for tenant, extension in streaming.execute(gone):
            yield Changed(tenant, extension, None)


def _is(table: sa.Table, tenant: str, extension: str) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.tenant == tenant, table.c.extension == extension)


def _key(user: User) -> tuple[str, str]:
    return user.tenant, user.extension

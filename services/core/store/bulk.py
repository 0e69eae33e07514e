"""Many users at once: staged first, then merged in one short transaction."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from services.core.configuration import User, encode
from services.core.store.database import Database, transaction
from services.core.store.dialect import insert, next_number
from services.core.store.errors import OwnedBySpecError
from services.core.store.schema import deleted_users, directories, users
from services.core.store.users import Source

SHOWN = 10
"""Users that an error names."""


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """What a merge did, in users."""

    written: int
    unchanged: int
    removed: int


class Bulk:
    """Users of one tenant on their way in; made by `bulk`."""

    def __init__(self, connection: Connection, tenant: str, source: Source) -> None:
        self._connection = connection
        self._tenant = tenant
        self._source = source
        self._staged = 0
        self._insert = "INSERT INTO pbx_staged (extension, routing) VALUES (?, ?)"
        if connection.dialect.name == "postgresql":
            self._insert = "COPY pbx_staged (extension, routing) FROM STDIN (FORMAT BINARY)"

    def add(self, found: Iterable[User]) -> None:
        """Stage users; of two with one extension the merge would refuse both, so give one."""
        rows = [(user.extension, encode(user)) for user in found]
        if not rows:
            return
        with transaction(self._connection, write=False):
            cursor = self._connection.connection.cursor()
            if self._connection.dialect.name == "postgresql":
                # COPY takes a million rows in seconds where INSERT takes a minute.
                with cursor.copy(self._insert) as copy:  # pyright: ignore
                    copy.set_types(["text", "bytea"])  # pyright: ignore
                    for row in rows:
                        copy.write_row(row)  # pyright: ignore
            else:
                cursor.executemany(self._insert, rows)
            cursor.close()
        self._staged += len(rows)

    def merge(self, *, replace: bool = False, digest: str = "") -> Merged:
        """Make the staged users true, all or none.

        What is so already is not written again. ``replace`` removes users of the same source that
        are not staged. ``digest`` is kept as the digest of the tenant's users in the spec. Raises
        OwnedBySpecError where users of the spec are staged for another source.
        """
        with transaction(self._connection, write=False) as connection:
            # Without it PostgreSQL takes the stage for a small table and plans accordingly.
            connection.execute(sa.text("ANALYZE pbx_staged"))
        with transaction(self._connection, write=True) as connection:
            change = next_number(connection, "users")
            # Behind the counter's lock, so that nobody becomes the spec's meanwhile.
            if self._source != "spec" and (owned := self._of_the_spec(connection)):
                raise OwnedBySpecError(self._tenant, owned)
            removed = self._remove(connection, change) if replace else 0
            connection.execute(
                sa.delete(deleted_users).where(
                    deleted_users.c.tenant == self._tenant,
                    deleted_users.c.extension.in_(sa.select(_staged.c.extension)),
                )
            )
            written = self._write(connection, change)
            if digest:
                statement = insert(connection, directories).values(
                    tenant=self._tenant, digest=digest
                )
                connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=["tenant"], set_={"digest": digest}
                    )
                )
        return Merged(written=written, unchanged=self._staged - written, removed=removed)

    def _of_the_spec(self, connection: Connection) -> Sequence[str]:
        """Some of the staged users that the spec owns."""
        query = (
            sa.select(users.c.extension)
            .join(_staged, _staged.c.extension == users.c.extension)
            .where(users.c.tenant == self._tenant, users.c.source == "spec")
        )
        rows = connection.execute(query.order_by(users.c.extension).limit(SHOWN))
        return rows.scalars().all()

    def _write(self, connection: Connection, change: int) -> int:
        rows = sa.select(
            sa.literal(self._tenant).label("tenant"),
            _staged.c.extension,
            sa.literal(self._source).label("source"),
            sa.literal(change).label("change"),
            _staged.c.routing,
        ).where(sa.true())  # SQLite's parser needs a WHERE between SELECT and ON CONFLICT
        statement = insert(connection, users).from_select(
            ["tenant", "extension", "source", "change", "routing"], rows
        )
        new = statement.excluded
        values = {"change": new.change, "routing": new.routing}
        same = sa.true()
        if self._source == "spec":
            values["source"] = new.source
            same = users.c.source == new.source
        result = connection.execute(
            statement.on_conflict_do_update(
                index_elements=["tenant", "extension"],
                set_=values,
                where=sa.not_(sa.and_(users.c.routing == new.routing, same)),
            ),
            execution_options={"preserve_rowcount": True},
        )
        return result.rowcount

    def _remove(self, connection: Connection, change: int) -> int:
        gone = sa.and_(
            users.c.tenant == self._tenant,
            users.c.source == self._source,
            # NOT IN is a look-up for each row only while its list fits PostgreSQL's work_mem.
            ~sa.exists().where(_staged.c.extension == users.c.extension),
        )
        connection.execute(
            sa.insert(deleted_users).from_select(
                ["tenant", "extension", "change"],
                sa.select(users.c.tenant, users.c.extension, sa.literal(change)).where(gone),
            )
        )
        return connection.execute(sa.delete(users).where(gone)).rowcount


@contextmanager
def bulk(database: Database, tenant: str, *, source: Source) -> Generator[Bulk]:
    """Begin to take users of ``tenant``. Nothing is true before `Bulk.merge`.

    The stage is a temporary table, so that other writers do not wait while users arrive.
    """
    with database.session() as connection:
        with transaction(connection, write=False):
            connection.execute(
                sa.text(
                    "CREATE TEMPORARY TABLE pbx_staged"
                    f" (extension {_text(database)} PRIMARY KEY, routing {_bytes(database)})"
                )
            )
        try:
            yield Bulk(connection, tenant, source)
        finally:
            # The connection goes back to the pool; with it closed the table is gone for certain.
            connection.invalidate()


_staged = sa.table(
    "pbx_staged", sa.column("extension", sa.String), sa.column("routing", sa.LargeBinary)
)


def _text(database: Database) -> str:
    return 'VARCHAR(255) COLLATE "C"' if database.kind == "postgresql" else "VARCHAR(255)"


def _bytes(database: Database) -> str:
    return "BYTEA" if database.kind == "postgresql" else "BLOB"

"""Secrets, sealed with the cluster key: who reads the database alone cannot read them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from services.core.seal import Seal
from services.core.store.dialect import insert
from services.core.store.schema import secrets


def put(connection: Connection, seal: Seal, name: str, value: str) -> None:
    """Write a secret, new or not."""
    closed = seal.close(name, value)
    statement = insert(connection, secrets).values(name=name, sealed=closed)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_={"sealed": closed})
    )


def get(connection: Connection, seal: Seal, name: str) -> str | None:
    """A secret's value, or None. Raises SealError."""
    found = sealed(connection, name)
    return None if found is None else seal.open(name, found)


def sealed(connection: Connection, name: str) -> bytes | None:
    """A secret as it is kept, or None."""
    return connection.execute(
        sa.select(secrets.c.sealed).where(secrets.c.name == name)
    ).scalar_one_or_none()


def names(connection: Connection) -> list[str]:
    """The names of all secrets, sorted."""
    return list(connection.execute(sa.select(secrets.c.name).order_by(secrets.c.name)).scalars())


def delete(connection: Connection, name: str) -> bool:
    """Delete a secret; False if it was not there."""
    return connection.execute(sa.delete(secrets).where(secrets.c.name == name)).rowcount > 0

"""Brings a database to the shape that this release needs."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from services.core.store.database import Database

LOCK = 0x70627863
"""Any number, the same in every release: who migrates holds this advisory lock."""


def migrate(database: Database) -> None:
    """Upgrade to the newest revision; nothing if it is there.

    Safe when two run at once: the second waits for the first. All or nothing, on both databases.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with database.write() as connection:
        if database.kind == "postgresql":
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def revision(database: Database) -> str | None:
    """The revision that the database has; None if it was never migrated."""
    with database.read() as connection:
        return MigrationContext.configure(connection).get_current_revision()

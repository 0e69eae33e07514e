"""Alembic's entry: runs the migrations on the connection that `migrate` holds."""

from __future__ import annotations

from alembic import context

from services.core.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # The caller's transaction is around all of it, lock included.
    transactional_ddl=False,
)
context.run_migrations()

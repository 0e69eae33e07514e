"""Alembic's migrations, run by `services.core.store.migrate`."""

"""The store: what outlives every process and is too much for the registry.

Everything here waits for a database: call it from a thread.

database = Database(settings.database_url)
with database.write() as connection:
    users.put(connection, user)
"""

from services.core.store import (
    calls,
    media_sets,
    recordings,
    registrations,
    secrets,
    sounds,
    users,
    voicemail,
)
from services.core.store.bulk import Bulk, Merged, bulk
from services.core.store.calls import CallRecord
from services.core.store.database import Database
from services.core.store.errors import OwnedBySpecError, StoreAwayError, StoreError
from services.core.store.migrate import migrate, revision
from services.core.store.recordings import Recording
from services.core.store.registrations import Binding

__all__ = [
    "Binding",
    "Bulk",
    "CallRecord",
    "Database",
    "Merged",
    "OwnedBySpecError",
    "Recording",
    "StoreAwayError",
    "StoreError",
    "bulk",
    "calls",
    "media_sets",
    "migrate",
    "recordings",
    "registrations",
    "revision",
    "secrets",
    "sounds",
    "users",
    "voicemail",
]

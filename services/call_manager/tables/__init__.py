"""The tables Kamailio's workers route by: one LMDB environment, the agent its only writer.

Layout: docs/architecture.md "Tables". Readers take no lock and see whole transactions only; what
is small (all but users and numbers) they decode once a generation and keep.
"""

from services.call_manager.tables.environment import DATABASES, MAP_SIZE, MARKER, MAX_READERS
from services.call_manager.tables.memory import MemoryTables
from services.call_manager.tables.model import (
    AppServer,
    MediaServer,
    Networks,
    Number,
    Picture,
    ServerState,
    Tables,
    Target,
)
from services.call_manager.tables.reader import LOOK_EVERY, TablesReader
from services.call_manager.tables.writer import EncodedUser, TablesWriter

__all__ = [
    "DATABASES",
    "LOOK_EVERY",
    "MAP_SIZE",
    "MARKER",
    "MAX_READERS",
    "AppServer",
    "EncodedUser",
    "MediaServer",
    "MemoryTables",
    "Networks",
    "Number",
    "Picture",
    "ServerState",
    "Tables",
    "TablesReader",
    "TablesWriter",
    "Target",
]

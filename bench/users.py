"""1,000,000 users: import, copy to the routing tables, memory, look-up, cold start."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.results import Table
from services.call_manager.tables import EncodedUser, TablesReader, TablesWriter
from services.core.configuration import User, encode, ha1
from services.core.store import users as stored
from services.core.store.bulk import bulk
from services.core.store.database import Database
from services.core.store.migrate import migrate

USERS = int(os.environ.get("PBX_BENCH_USERS", "1000000"))
TENANT = "bench"
LOOKUPS = 200_000


def made(count: int) -> Iterator[User]:
    """Users with true HA1s of distinct passwords."""
    for n in range(count):
        extension = f"{1_000_000 + n}"
        yield User(
            tenant=TENANT,
            extension=extension,
            name=f"User {n}",
            permission="national",
            ha1_md5=ha1(extension, "bench.example", f"p{n}", "MD5"),
            ha1_sha256=ha1(extension, "bench.example", f"p{n}", "SHA-256"),
        )


def run() -> list[Table]:
    table = Table(f"{USERS:,} users")
    with tempfile.TemporaryDirectory(prefix="pbx-bench-") as name:
        directory = Path(name)
        _imports(table, directory)
        _load(table, directory)
        _look_up(table, directory)
    return [table]


def _imports(table: Table, directory: Path) -> None:
    users = list(made(USERS))
    start = time.perf_counter()
    with sqlite3.connect(directory / "plain.db") as plain:
        plain.execute("CREATE TABLE users (key TEXT PRIMARY KEY, routing BLOB) WITHOUT ROWID")
        plain.executemany(
            "INSERT INTO users VALUES (?, ?)",
            ((f"{user.tenant}/{user.extension}", encode(user)) for user in users),
        )
    plain.close()
    baseline = time.perf_counter() - start
    url = f"sqlite:///{directory / 'store.db'}"
    database = Database(url)
    migrate(database)
    start = time.perf_counter()
    with bulk(database, TENANT, source="api") as incoming:
        for at in range(0, len(users), 10_000):
            incoming.add(users[at : at + 10_000])
        incoming.merge()
    seconds = time.perf_counter() - start
    database.close()
    table.add(
        "import into the store",
        f"{seconds:.1f} s",
        peer=f"{baseline:.1f} s, rows into a bare SQLite table",
        ratio=seconds / baseline,
    )


def _load(table: Table, directory: Path) -> None:
    """The agent's cold start: a process of its own, so that memory is the load's alone."""
    finished = subprocess.run(
        [sys.executable, "-c", "from bench.users import load; load()", str(directory)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    seconds, peak, first = (float(part) for part in finished.stdout.split())
    size = sum(f.stat().st_blocks * 512 for f in (directory / "tables").iterdir()) / 2**20
    table.add(
        "tables filled from the store, nothing there before",
        f"{seconds:.1f} s, {size:.0f} MiB on disk, agent's peak {peak:.0f} MiB",
        goal="serves within 5 s",
        met=seconds < 5,
        peer=f"{USERS / 6250:.0f} s at the 6,250 sets/s measured for hash tables over JSON-RPC",
        ratio=seconds / (USERS / 6250),
    )
    table.add(
        "cold start with tables on disk, first user read after",
        f"{first * 1000:.1f} ms",
        goal="serves within 5 s",
        met=first < 5,
    )


def load() -> None:
    """Copies the store to new tables; prints seconds, peak MiB and seconds to a first read."""
    import resource

    directory = Path(sys.argv[1])
    start = time.perf_counter()
    database = Database(f"sqlite:///{directory / 'store.db'}")
    writer = TablesWriter(directory / "tables")
    with database.read() as connection:
        writer.load_users(
            EncodedUser(row.tenant, row.extension, row.routing)
            for row in stored.changes(connection, 0)
            if row.routing is not None
        )
    seconds = time.perf_counter() - start
    writer.close()
    database.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    reader = TablesReader(directory / "tables")
    reader.refresh()
    assert reader.user(TENANT, "1000001") is not None
    print(seconds, peak, time.perf_counter() - start)


def _look_up(table: Table, directory: Path) -> None:
    wanted = [f"{1_000_000 + random.randrange(USERS)}" for _ in range(LOOKUPS)]
    plain = sqlite3.connect(directory / "plain.db")
    start = time.perf_counter()
    for extension in wanted:
        plain.execute("SELECT routing FROM users WHERE key=?", (f"bench/{extension}",)).fetchone()
    baseline = (time.perf_counter() - start) / LOOKUPS
    plain.close()
    reader = TablesReader(directory / "tables")
    reader.refresh()
    start = time.perf_counter()
    for extension in wanted:
        assert reader.user(TENANT, extension) is not None
    seconds = (time.perf_counter() - start) / LOOKUPS
    table.add(
        "look-up of a random user, decoded",
        f"{seconds * 1e6:.1f} µs",
        peer=f"{baseline * 1e6:.1f} µs, SQLite by primary key, not decoded",
        ratio=seconds / baseline,
    )

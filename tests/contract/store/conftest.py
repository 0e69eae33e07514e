"""Every test of this folder runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from services.core.store import Database, migrate
from tests.support.postgresql import postgresql_server


@pytest.fixture(scope="session")
def postgresql() -> Generator[str]:
    with postgresql_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/pbx.db"
    server: str = request.getfixturevalue("postgresql")
    name = f"test_{uuid.uuid4().hex}"
    parsed = make_url(server)
    plain = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return parsed.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def database(url: str) -> Generator[Database]:
    """A database with this release's tables."""
    found = Database(url)
    migrate(found)
    yield found
    found.close()

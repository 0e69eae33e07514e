"""A Call Manager whose database is on PostgreSQL, and the database is away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import trio
from sqlalchemy.engine import make_url

from services.call_manager.options import OptionsError, options
from tests.integration.agent.lab import ROOT, Lab, lab, plain, user
from tests.support.hosts import loopback_network
from tests.support.postgresql import postgresql_server


async def test_it_starts_cold_and_carries_sip_without_it() -> None:
    with loopback_network() as network, postgresql_server() as url:
        async with lab(network, database_url=url) as manager:
            await manager.apply(plain())
            await manager.put_users(user("2001"))
            await manager.until(lambda: copied(manager), "all users are in the tables", 60)
            await refuse(url, away=True)
            for task in ("kamailio", "agent"):
                await trio.to_thread.run_sync(manager.stop, task)

            text = await trio.to_thread.run_sync(prepared, manager)
            assert "going on without the database" in text
            manager.start("agent")
            manager.start("kamailio")
            await manager.until(lambda: routes(manager), "SIP is answered", 120)
            answer = await manager.http.get("/v1/tenants/acme/users")
            assert answer.status_code == 503
            assert answer.headers["retry-after"]

            await refuse(url, away=False)

            async def back() -> bool:
                return (await manager.http.get("/v1/tenants/acme/users")).status_code == 200

            await manager.until(back, "the database is back", 60)


async def copied(manager: Lab) -> bool:
    health = await manager.health()
    return health["status"] == "passing" and not health["problems"]


async def routes(manager: Lab) -> bool:
    """An answer of 200 is routing's, not the core's."""
    s = manager.settings
    try:
        return await options(s.address, s.sip_port, source=s.address) == 200
    except OptionsError:
        return False


def prepared(manager: Lab) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "services.call_manager", "prepare"],
        env=manager.environment,
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert (Path(manager.settings.data_dir) / "kamailio.db").exists()
    return done.stderr


async def refuse(url: str, *, away: bool) -> None:
    """Make the server refuse the Call Manager's database, and cut its connections."""
    template = make_url(url).set(drivername="postgresql", database="template1")
    target = template.render_as_string(hide_password=False)

    def tell() -> None:
        with psycopg.connect(target, autocommit=True) as connection:
            allowed = "false" if away else "true"
            connection.execute(f"ALTER DATABASE postgres ALLOW_CONNECTIONS {allowed}".encode())
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres'"
            )

    await trio.to_thread.run_sync(tell)

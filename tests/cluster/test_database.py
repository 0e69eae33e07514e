"""The database on three hosts: whoever of them fails, writes come back and none is lost."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from functools import partial

import httpx
import pytest
import sqlalchemy as sa
import trio

from services.core.store import Database, StoreError, migrate, revision
from tests.cluster.lab import Host, lab, until
from tests.cluster.managers import CLUSTER, Managers, figure, on, pid_of, store

LONG = pytest.mark.long
"""One failure is enough each time; all of them are for `make cluster`."""
WITHIN = 180.0
"""Seconds: the machine may be busy. What it takes is told as a figure."""


@pytest.fixture(scope="module")
def managers() -> Iterator[Managers]:
    with lab(consul=("cm1", "cm2", "cm3")) as network:
        found = Managers(network)

        async def begin() -> None:
            await network.consul_ready()
            found.start_role("database", ["patroni", "agent"])
            await settled(found)
            # All three prepare at once, as at a cluster's first start.
            async with trio.open_nursery() as nursery:
                for host in found.hosts:
                    nursery.start_soon(on, host, partial(opened, found, migrate))
            await on(found.hosts[0], partial(opened, found, make_table))

        trio.run(begin)
        yield found


def opened(managers: Managers, work: Callable[[Database], object]) -> None:
    """Do ``work`` with the store, and close it."""
    with closing(store(managers)) as database:
        work(database)


def make_table(database: Database) -> None:
    assert revision(database)
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE acknowledged (number int PRIMARY KEY)"))


async def settled(managers: Managers, *, but: Host | None = None) -> Host:
    """The primary, once it has two synchronous standbys and Consul knows all of it.

    ``but`` has been it and is not to be it any more.
    """
    network = managers.network

    async def in_step() -> Host | None:
        primary = await managers.tagged("database", "primary")
        standbys = await managers.tagged("database", "standby")
        if len(primary) != 1 or len(standbys) != 2:
            return None
        output = await managers.output("database", primary[0])
        if not output.startswith("primary, 2 standbys, lag") or "synchronous" in output:
            return None
        # Consul says what was: for a while after a failure that is the state before it.
        return primary[0] if primary[0] is not but and await leads(managers, primary[0]) else None

    found = await until(
        "a primary and two synchronous standbys", in_step, within=240, why=network.logs
    )
    assert found is not None
    leader = await network.raft_leader()
    if leader is found:
        await network.transfer_leader(next(h for h in managers.hosts if h is not found))
    return found


async def leads(managers: Managers, host: Host) -> bool:
    """Whether PostgreSQL and Patroni say that it is the primary of two synchronous standbys."""
    question = "SELECT pg_is_in_recovery(), current_setting('synchronous_standby_names')"
    target = f"host={host.address} user=pbx dbname=pbx connect_timeout=5"
    password = {"PGPASSWORD": managers.secret("database_password")}
    if not (await psql(host, target, password, question)).startswith("f|2 ("):
        return False
    sync = await managers.network.ask_any(f"/v1/kv/service/{CLUSTER}/sync?raw") or {}
    return sync.get("leader") == host.name and len((sync["sync_standby"] or "").split(",")) == 2


class Writer:
    """A Call Manager on ``host`` that writes one row after the other; ``acknowledged`` are in."""

    def __init__(self, managers: Managers, host: Host) -> None:
        self.host = host
        self.database = store(managers)
        self.acknowledged: list[int] = []
        self.refused = 0
        self._next = 1000 * (1 + int(time.monotonic() * 10))

    async def write(self) -> None:
        """One row. Raises StoreError."""
        self._next += 1
        number = self._next

        def insert() -> None:
            with self.database.write() as connection:
                insertion = sa.text("INSERT INTO acknowledged VALUES (:number)")
                connection.execute(insertion, {"number": number})

        await on(self.host, insert)
        self.acknowledged.append(number)

    async def back(self, since: float) -> float:
        """Seconds from ``since`` to the first row that is in."""
        with trio.move_on_after(WITHIN):
            while True:
                try:
                    await self.write()
                except StoreError:
                    self.refused += 1
                    await trio.sleep(0.02)
                else:
                    return time.monotonic() - since
        raise AssertionError(f"no write within {WITHIN:g} s")

    async def missing(self) -> set[int]:
        """Acknowledged rows that are not there any more."""

        def read() -> set[int]:
            with self.database.read() as connection:
                rows = connection.execute(sa.text("SELECT number FROM acknowledged"))
                return {int(row.number) for row in rows}

        return set(self.acknowledged) - await on(self.host, read)


@pytest.fixture
async def primary(managers: Managers) -> Host:
    return await settled(managers)


@pytest.fixture
async def writer(managers: Managers, primary: Host) -> AsyncIterator[Writer]:
    found = Writer(managers, next(host for host in managers.hosts if host is not primary))
    await found.back(time.monotonic())
    for _ in range(20):
        await found.write()
    yield found
    found.database.close()


async def test_registry_tells_people_what_it_is(managers: Managers, primary: Host) -> None:
    standby = next(host for host in managers.hosts if host is not primary)

    async def told() -> bool:
        output = await managers.output("database", standby)
        return output.startswith(f"standby of {primary.name}, ") and "ms behind" in output

    await until("the standby's output", told)


async def test_only_the_clusters_hosts_with_the_password(managers: Managers, primary: Host) -> None:
    stranger = managers.network.hosts.get("stranger") or managers.network.add("stranger")
    target = f"host={primary.address} user=pbx dbname=pbx connect_timeout=60"
    good = {"PGPASSWORD": managers.secret("database_password")}
    assert "no pg_hba.conf entry" in await psql(stranger, target, good)
    assert "password authentication failed" in await psql(primary, target, {"PGPASSWORD": "x"})
    assert await psql(primary, target, good) == "1"


async def psql(host: Host, target: str, env: dict[str, str], question: str = "SELECT 1") -> str:
    done = await host.run(["psql", "-Atc", question, target], env=env, check=False)
    return (done.stdout + done.stderr).strip()


async def test_passwords_are_in_no_command_line(managers: Managers, primary: Host) -> None:
    lines = (await primary.run(["ps", "-eo", "args"])).stdout.splitlines()
    assert any("patroni_start.py" in line for line in lines)
    for name in ("database_password", "database_superuser_password", "live_password"):
        assert not [line for line in lines if managers.secret(name) in line]


@pytest.mark.parametrize("trial", [0, pytest.param(1, marks=LONG)])
async def test_primary_host_off(
    managers: Managers, primary: Host, writer: Writer, trial: int
) -> None:
    primary.power_off()
    took = await writer.back(time.monotonic())
    figure("database: primary's host off, writes back", took)
    assert await writer.missing() == set()
    primary.power_on()
    since = time.monotonic()
    await settled(managers, but=primary)
    figure("database: the host is back and in step", time.monotonic() - since)


@LONG
async def test_standby_host_off(managers: Managers, primary: Host, writer: Writer) -> None:
    standby = next(host for host in managers.hosts if host not in (primary, writer.host))
    # The worst of the two: Consul has to find another leader, too.
    await managers.network.transfer_leader(standby)
    standby.power_off()
    took = await writer.back(time.monotonic())
    figure("database: a synchronous standby's host off, writes back", took)
    standby.power_on()
    assert await settled(managers) is primary


@LONG
async def test_postgres_killed(managers: Managers, primary: Host, writer: Writer) -> None:
    pid = pid_of(primary, "/usr/lib/postgresql/15/bin/postgres -D")
    await primary.run(["kill", "-9", str(pid)])
    # Of new connections: for a moment the old server's processes go on.
    killed = time.monotonic()
    writer.database.close()
    figure("database: PostgreSQL killed, writes back", await writer.back(killed))
    await settled(managers)
    assert await writer.missing() == set()


@LONG
async def test_patroni_killed(managers: Managers, primary: Host, writer: Writer) -> None:
    """Started again in time, it finds its PostgreSQL and goes on: nobody notices."""
    killed = pid_of(primary, "patroni_start.py")
    await primary.run(["kill", "-9", str(killed)])
    took = await writer.back(time.monotonic())
    figure("database: Patroni killed, writes back", took)

    async def again() -> bool:
        try:
            return pid_of(primary, "patroni_start.py") != killed
        except AssertionError:
            return False

    await until("another Patroni", again, within=WITHIN)

    async def at_work() -> bool:
        async with primary.http(f"http://{primary.address}:8008", timeout=5) as patroni:
            try:
                return (await patroni.get("/primary")).status_code == 200
            except httpx.HTTPError:
                return False

    await until("Patroni at work again", at_work, within=WITHIN, why=managers.network.logs)
    assert await settled(managers) is primary
    assert await writer.missing() == set()


@LONG
async def test_patroni_hung(managers: Managers, primary: Host, writer: Writer) -> None:
    """On a living host the session goes on; the agent ends PostgreSQL, Patroni and the session."""
    pid = pid_of(primary, "patroni_start.py")
    await primary.run(["kill", "-STOP", str(pid)])
    since = time.monotonic()

    async def another() -> list[Host]:
        return await managers.tagged("database", "primary", but=[primary])

    await until("another primary", another, within=WITHIN, why=managers.network.logs)
    figure("database: Patroni hung, another is primary", time.monotonic() - since)
    await writer.back(since)
    # Nobody wakes it up: it was killed, and started again.
    await settled(managers, but=primary)
    assert await writer.missing() == set()


@LONG
async def test_primary_goes_with_the_vip(managers: Managers, primary: Host, writer: Writer) -> None:
    target = writer.host
    path = f"/v1/kv/pbx/{CLUSTER}/floating/vip"
    value = {"member": f"call-manager/{target.name}", "epoch": "e"}
    assert await managers.network.ask_any("/v1/status/leader")
    assert await managers.network.ask(target.name, path, method="PUT", body=value)
    since = time.monotonic()

    async def moved() -> bool:
        return await managers.tagged("database", "primary", but=[primary]) == [target]

    await until("the primary beside the VIP", moved, within=240, why=managers.network.logs)
    figure("database: VIP moved, primary beside it", time.monotonic() - since)
    assert await settled(managers) is target
    await writer.write()
    assert await writer.missing() == set()

"""Journals and claims on a real Redis: what is written is there, and is taken once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import coredis
import pytest
import trio
import trio.testing

from services.core.succession.estates import Estates
from services.core.succession.inheritance import Estate
from services.core.succession.journal import IDLE, REMEMBERED, Journal
from tests.support.redis import PORT, redis
from tests.support.waiting import eventually

__all__ = ["redis"]
Redis = tuple[str, int]


def connect(address: str) -> Estates:
    return Estates("test", "ivr", (address, PORT))


class Server:
    """A server's journal; ``closings`` counts how often it was taken for gone."""

    def __init__(self, name: str, address: str) -> None:
        self.closings = 0
        self.journal = Journal(name, lambda: connect(address), self._closed)

    def _closed(self) -> None:
        self.closings += 1
        self.journal.renew()


@asynccontextmanager
async def writing(name: str, address: str) -> AsyncIterator[Server]:
    """A server that writes while the block lasts."""
    server = Server(name, address)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.journal.run)
        await flushed(server)
        yield server
        nursery.cancel_scope.cancel()


async def flushed(server: Server) -> None:
    with trio.fail_after(10):
        while not server.journal.clean:
            await server.journal.flush()


async def there(address: str, estate: Estate) -> dict[bytes, bytes]:
    """What Redis has of it."""
    async with coredis.Redis(address, PORT, verify_version=False) as client:
        found = await client.hgetall(f"pbx:test:ivr:calls:{estate.name}")
        return {bytes(k): bytes(v) for k, v in found.items()}  # type: ignore[arg-type]


async def until(address: str, estate: Estate, wanted: dict[bytes, bytes]) -> None:
    await eventually(lambda: there(address, estate), wanted.__eq__)


async def so(condition: Callable[[], object]) -> None:
    async def ask() -> object:
        return condition()

    await eventually(ask)


async def test_the_last_of_a_call_is_written_until_it_is_over(redis: Redis) -> None:
    address, _ = redis
    odd = b"a\xff".decode("utf-8", "surrogateescape")
    async with writing("ivr1", address) as server:
        for step in range(100):
            server.journal.write("a", b"%d" % step)
        server.journal.write(odd, b"\x00\xff")
        await flushed(server)
        estate = server.journal.estate
        assert await there(address, estate) == {b"a": b"99", b"a\xff": b"\x00\xff"}
        server.journal.erase("a")
        server.journal.erase("was never there")
        await flushed(server)
        assert await there(address, estate) == {b"a\xff": b"\x00\xff"}
        async with coredis.Redis(address, PORT, verify_version=False) as client:
            for key in await client.keys("*"):
                assert await client.ttl(key) > 0, key


async def test_a_redis_that_stalls_holds_nobody_up_and_gets_it_later(redis: Redis) -> None:
    address, pid = redis
    async with writing("ivr1", address) as server:
        os.kill(pid, signal.SIGSTOP)
        server.journal.write("a", b"1")
        await trio.sleep(0.1)
        server.journal.write("a", b"2")
        assert not server.journal.clean
        await so(lambda: server.journal.problem)
        os.kill(pid, signal.SIGCONT)
        await flushed(server)
        assert not server.journal.problem
        assert await there(address, server.journal.estate) == {b"a": b"2"}


async def test_a_redis_that_has_lost_all_is_given_all_again(redis: Redis) -> None:
    address, _ = redis
    async with writing("ivr1", address) as server:
        server.journal.write("a", b"1")
        server.journal.write("b", b"2")
        await flushed(server)
        async with coredis.Redis(address, PORT, verify_version=False) as client:
            await client.flushall()
        await until(address, server.journal.estate, {b"a": b"1", b"b": b"2"})


async def test_an_older_redis_forgets_again_what_is_over(redis: Redis) -> None:
    """A new primary that had not heard all: it has what was erased, and what was taken."""
    address, _ = redis
    async with writing("ivr1", address) as server, connected(address) as estates:
        other = Estate("ivr2", "x")
        await estates.open(other)
        await estates.write(other, {"c": b"3"}, [])
        records = await estates.take(server.journal.estate, other, ["c"])
        assert records is not None
        assert records == {"c": b"3"}
        assert server.journal.take(other, records) == records
        server.journal.write("a", b"1")
        server.journal.erase("a")
        await flushed(server)
        async with coredis.Redis(address, PORT, verify_version=False) as client:
            await client.flushall()
        await estates.open(other)
        await estates.write(other, {"c": b"3"}, [])
        await estates.write(server.journal.estate, {"a": b"1"}, [])
        await until(address, server.journal.estate, {b"c": b"3"})
        await until(address, other, {})
        assert REMEMBERED > 5


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Estates]:
    estates = connect(address)
    async with estates.connected():
        yield estates


async def test_two_survivors_share_a_thousand_calls_within_a_second(redis: Redis) -> None:
    address, _ = redis
    dead = Estate("ivr1", "x")
    calls = {f"{number}@host": b"r" * 3000 for number in range(1000)}
    taken: list[tuple[str, str]] = []

    async def survive(name: str) -> None:
        own = Estate(name, "y")
        async with connected(address) as estates:
            ids = await estates.calls(dead)
            for start in range(0, len(ids), 100):
                records = await estates.take(own, dead, ids[start : start + 100])
                assert records is not None
                taken.extend((call, name) for call in records)
                assert all(records[call] == calls[call] for call in records)

    async with connected(address) as estates:
        await estates.open(dead)
        await estates.write(dead, calls, [])
        began = time.monotonic()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(survive, "ivr2")
            nursery.start_soon(survive, "ivr3")
        assert time.monotonic() - began < 1
        assert sorted(call for call, _ in taken) == sorted(calls)
        assert await estates.calls(dead) == []
        # The empty estate has gone; those of who took have not.
        assert set(await estates.all()) <= {Estate("ivr2", "y"), Estate("ivr3", "y")}


async def test_who_was_taken_for_gone_writes_no_more(redis: Redis) -> None:
    address, _ = redis
    async with writing("ivr1", address) as server, connected(address) as estates:
        before = server.journal.estate
        server.journal.write("a", b"1")
        await flushed(server)
        assert await estates.take(Estate("ivr2", "y"), before, ["a"]) == {"a": b"1"}
        server.journal.write("a", b"2")
        await so(lambda: server.closings)
        await flushed(server)
        assert await estates.calls(before) == []
        assert server.journal.estate != before
        assert await estates.write(before, {"a": b"3"}, []) == "closed"
        assert await estates.take(before, Estate("ivr2", "y"), ["a"]) is None


async def test_a_new_life_is_written_at_once(redis: Redis) -> None:
    address, _ = redis
    async with writing("ivr1", address) as server:
        await trio.testing.wait_all_tasks_blocked(0.05)
        server.journal.renew()
        server.journal.write("a", b"1")
        began = trio.current_time()
        await flushed(server)
        assert trio.current_time() - began < IDLE / 2
        assert await there(address, server.journal.estate) == {b"a": b"1"}


async def test_what_is_left_is_marked_and_an_empty_estate_goes(redis: Redis) -> None:
    address, _ = redis
    own, empty = Estate("ivr1", "x"), Estate("ivr1", "z")
    async with connected(address) as estates:
        for estate in (own, empty):
            await estates.open(estate)
        await estates.write(own, {"a": b"1"}, [])
        assert await estates.all() == {own: "open", empty: "open"}
        await estates.leave(own)
        await estates.leave(empty)
        assert await estates.all() == {own: "left"}


@pytest.mark.parametrize("loss", ["taking", "nothing"])
async def test_who_takes_before_it_has_written_writes_all_of_its_own(
    redis: Redis, loss: str
) -> None:
    address, _ = redis
    async with writing("ivr2", address) as server, connected(address) as estates:
        server.journal.write("own", b"1")
        await flushed(server)
        async with coredis.Redis(address, PORT, verify_version=False) as client:
            await client.flushall()
        dead = Estate("ivr1", "x")
        await estates.open(dead)
        await estates.write(dead, {"a": b"2"}, [])
        if loss == "taking":
            records = await estates.take(server.journal.estate, dead, ["a"])
            assert records is not None
            server.journal.take(dead, records)
            await until(address, server.journal.estate, {b"own": b"1", b"a": b"2"})
        else:
            await until(address, server.journal.estate, {b"own": b"1"})


async def test_calls_that_came_since_an_empty_estate_went_are_kept(redis: Redis) -> None:
    address, _ = redis
    async with writing("app1", address) as one:
        before, estates = one.journal.estate, connect(address)
        async with estates.connected():
            # To another server app1 is down still; it is not, and has a call.
            await estates.take(Estate("app2", "x"), before, [])
        one.journal.write("c1", b"one")
        await flushed(one)
        assert one.closings == 0
        assert one.journal.estate != before
        assert await there(address, one.journal.estate) == {b"c1": b"one"}

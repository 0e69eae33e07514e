"""Sessions on their way through a real Redis that stalls just then."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import coredis
import msgspec
import pytest
import trio
import trio.testing

from services.media.mirror.document import interface
from services.media.mirror.sessions import Sessions
from services.media.mirror.store import Exchange
from tests.support.redis import PORT, redis
from tests.support.waiting import until

__all__ = ["redis"]

HOME = "10-0-0-1"
CHANGES = "pbx:test:media:changes"


def document(version: str) -> bytes:
    """As much of rtpengine's JSON as tells where a session is at home."""
    body = {"json": {"version": version}, "sfd-0": {"logical_intf": interface(HOME)}}
    return msgspec.json.encode(body)


class Serving:
    """A media server's sessions and their way to Redis."""

    def __init__(self, address: str) -> None:
        self.sessions = Sessions([HOME])
        self.sessions.gain(HOME)
        there = (address, PORT)
        self.exchange = Exchange("test", "ms1", there, "", self.sessions, lambda _: None)

    def write(self, call: str, version: str) -> None:
        actions = self.sessions.written(call, document(version))
        assert actions
        self.exchange.put(actions)  # type: ignore[arg-type] # of writes there is no other kind

    def over(self, call: str) -> None:
        self.exchange.put(self.sessions.deleted(call, 1))  # type: ignore[arg-type]


@asynccontextmanager
async def serving(address: str) -> AsyncIterator[tuple[Serving, coredis.Redis[bytes]]]:
    """It writes while the block lasts."""
    found = Serving(address)
    async with (
        coredis.Redis(address, PORT, verify_version=False) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(found.exchange.write)
        await until(lambda: not found.exchange.problem)
        yield found, client
        nursery.cancel_scope.cancel()


async def told(client: coredis.Redis[bytes], call: str, wanted: bytes) -> None:
    """Wait until that is the last that others were told of a session."""
    position: bytes | str = "0"
    last = b"nothing"
    with trio.fail_after(10):
        while last != wanted:
            found = await client.xread({CHANGES: position}, block=1000, count=1)
            for entries in (found or {}).values():
                for entry in entries:
                    position = entry.identifier
                    values: dict[Any, Any] = dict(entry.field_values)
                    if values[b"call"] == call.encode():
                        last = values[b"document"]


@pytest.mark.parametrize("over", [False, True], ids=["answered", "over"])
async def test_what_changes_while_it_is_written_is_written_again(
    redis: tuple[str, int], *, over: bool
) -> None:
    address, pid = redis
    async with serving(address) as (server, client):
        os.kill(pid, signal.SIGSTOP)
        server.write("a", "offer")
        # The writer waits for Redis now.
        await trio.testing.wait_all_tasks_blocked(0.1)
        if over:
            server.over("a")
        else:
            server.write("a", "answer")
        os.kill(pid, signal.SIGCONT)
        await told(client, "a", b"" if over else document("answer"))

"""This host's Redis, as the agent asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import coredis
import msgspec
from coredis import PureToken
from coredis.exceptions import RedisError
from coredis.retry import NoRetryPolicy

from services.live.following import Command, Promote, Seen
from services.live.settings import LiveSettings

TIMEOUT = 1.0
HEALTH = 31
"""Redis' database of the checks' own keys, so that nobody hears of them who listens to others."""

ERRORS = (RedisError, OSError, TimeoutError)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """``memory`` in bytes. ``saving``: the append-only file is on; ``saved``: it can be written."""

    memory: int
    clients: int
    saving: bool
    saved: bool


class Live:
    """A connection to Redis; made by `open_live`. Every method raises `ERRORS`."""

    def __init__(self, client: coredis.Redis[str], server: str, port: int) -> None:
        self._client = client
        self._server = server
        self._port = port

    async def seen(self) -> Seen:
        """What it is."""
        return read_replication(await self._client.info("replication"))

    async def figures(self) -> Figures:
        """How it is."""
        info: Any = await self._client.info("memory", "clients", "persistence")
        found: Mapping[str, Any] = info
        return Figures(
            memory=int(found["used_memory"]),
            clients=int(found["connected_clients"]),
            saving=str(found["aof_enabled"]) == "1",
            saved=found["aof_last_write_status"] == "ok",
        )

    async def obey(self, command: Command) -> None:
        """Do what `following.command` says."""
        if isinstance(command, Promote):
            await self._client.replicaof()
            return
        await self._client.replicaof(command.address, self._port)
        if command.cut:
            # They come back by the VIP, to the new primary.
            for kind in (PureToken.NORMAL, PureToken.PUBSUB):
                await self._client.client_kill(type_=kind, skipme=True)

    async def check(self) -> None:
        """Write a key and read it back. Raises RedisError if it is another."""
        key = f"pbx:health:{self._server}"
        value = await self._client.incr(key)
        if await self._client.get(key) != str(value):
            raise RedisError("a key written is not what is read")

    async def save(self, on: bool) -> None:
        """Write the append-only file, or not."""
        await self._client.config_set({"appendonly": "yes" if on else "no"})


def read_replication(found: Mapping[str, Any]) -> Seen:
    """``INFO replication``."""
    if found["role"] == "master":
        return Seen(replicas=int(found["connected_slaves"]))
    return Seen(
        follows=str(found["master_host"]),
        link=found["master_link_status"] == "up",
        replicas=int(found["connected_slaves"]),
    )


@asynccontextmanager
async def open_live(settings: LiveSettings, password: str) -> AsyncIterator[Live]:
    """Redis on this host; it need not be there yet."""
    client = coredis.Redis(
        settings.address,
        settings.port,
        HEALTH,
        password=password,
        stream_timeout=TIMEOUT,
        connect_timeout=TIMEOUT,
        decode_responses=True,
        verify_version=False,
        retry_policy=NoRetryPolicy(),
    )
    async with client:
        yield Live(client, settings.server, settings.port)

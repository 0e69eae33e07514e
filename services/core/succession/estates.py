"""Calls in Redis: what each server wrote of its own, and who took it over.

=========================================  ====================================================
``pbx:<cluster>:<role>:estates``           hash: ``<server>/<boot>`` → ``open``, ``left``, or
                                           ``taking``: it has calls of others, and is to write
                                           all of its own
``pbx:<cluster>:<role>:calls:<server>/…``  hash: Call-ID → the role's record, bytes
``pbx:<cluster>:<role>:closed:…``          there once somebody has taken a call from it: its
                                           server can write to it no more
=========================================  ====================================================

All goes `KEPT` seconds after it was last written to. Each step is one script, so that no two
servers take one call, and a write that was on its way for long comes to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

from services.core.redis import connection
from services.core.succession.inheritance import Estate, EstateState

KEPT = 3600
"""Seconds; the server that writes says each second that it is there."""
TIMEOUT = 1.0

Standing = Literal["kept", "unknown", "closed"]
"""What Redis knows of our estate; ``unknown``: not all of it, it may have lost the rest."""
_STANDINGS: dict[int, Standing] = {1: "kept", 0: "unknown", -1: "closed"}

# KEYS: calls, closed and estates of the own estate; ARGV: its name, KEPT, then for `_WRITE` how
# many pairs of Call-ID and record follow, and after them the Call-IDs of calls that are over.
_OPEN = """
if redis.call('EXISTS', KEYS[2]) == 1 then return -1 end
redis.call('HSET', KEYS[3], ARGV[1], 'open')
redis.call('EXPIRE', KEYS[3], ARGV[2])
return 1
"""
_WRITE = """
if redis.call('EXISTS', KEYS[2]) == 1 then return -1 end
local pairs_end = 3 + 2 * ARGV[3]
for i = 4, pairs_end, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i = pairs_end + 1, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[3], ARGV[2])
if redis.call('HGET', KEYS[3], ARGV[1]) == 'open' then return 1 end
return 0
"""
_LEAVE = """
redis.call('SET', KEYS[2], 1, 'EX', ARGV[2])
if redis.call('HLEN', KEYS[1]) == 0 then
  redis.call('HDEL', KEYS[3], ARGV[1])
else
  redis.call('HSET', KEYS[3], ARGV[1], 'left')
end
return 1
"""
# KEYS: those of the own estate, calls and closed of the other; ARGV: both names, KEPT, Call-IDs.
_TAKE = """
if redis.call('EXISTS', KEYS[2]) == 1 then return false end
redis.call('SET', KEYS[5], 1, 'EX', ARGV[3])
redis.call('HSETNX', KEYS[3], ARGV[1], 'taking')
local taken = {}
for i = 4, #ARGV do
  local record = redis.call('HGET', KEYS[4], ARGV[i])
  if record then
    redis.call('HSET', KEYS[1], ARGV[i], record)
    redis.call('HDEL', KEYS[4], ARGV[i])
    taken[#taken + 1] = ARGV[i]
    taken[#taken + 1] = record
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[3], ARGV[3])
if redis.call('HLEN', KEYS[4]) == 0 then redis.call('HDEL', KEYS[3], ARGV[2]) end
return taken
"""
# As `_TAKE`; of calls that we have, and whose taking a new primary may not know.
_FORGET = """
redis.call('SET', KEYS[5], 1, 'EX', ARGV[3])
for i = 4, #ARGV do redis.call('HDEL', KEYS[4], ARGV[i]) end
if redis.call('HLEN', KEYS[4]) == 0 then redis.call('HDEL', KEYS[3], ARGV[2]) end
return 1
"""


class Estates:
    """One connection; raises as `services.core.redis` says."""

    def __init__(
        self, cluster: str, role: str, address: tuple[str, int], password: str = ""
    ) -> None:
        self._prefix = f"pbx:{cluster}:{role}:"
        self._client = connection(address, password, timeout=TIMEOUT)

    def connected(self) -> AbstractAsyncContextManager[Any]:
        """Everything is to be asked within it."""
        return self._client

    async def all(self) -> dict[Estate, EstateState]:
        """Every estate of the role that is not empty, as far as anybody knows."""
        found: Any = await self._client.hgetall(self._key("estates"))
        return {
            Estate(*_text(name).partition("/")[::2]): "left" if state == b"left" else "open"
            for name, state in found.items()
        }

    async def calls(self, estate: Estate) -> list[str]:
        """The Call-IDs of the calls in it."""
        return [_text(call) for call in await self._client.hkeys(self._calls(estate))]

    async def open(self, own: Estate) -> Standing:
        """Say that all of ``own`` is going to be there."""
        return _STANDINGS[await self._run(_OPEN, self._keys(own), [own.name, KEPT])]

    async def write(
        self, own: Estate, records: Mapping[str, bytes], over: Sequence[str]
    ) -> Standing:
        """Write calls of ours, and erase those that are over."""
        words: list[Any] = [own.name, KEPT, len(records)]
        for call, record in records.items():
            words += [_bytes(call), record]
        words += [_bytes(call) for call in over]
        return _STANDINGS[await self._run(_WRITE, self._keys(own), words)]

    async def leave(self, own: Estate) -> None:
        """Close ``own``, for others to take what is in it."""
        await self._run(_LEAVE, self._keys(own), [own.name, KEPT])

    async def take(
        self, own: Estate, other: Estate, calls: Sequence[str]
    ) -> dict[str, bytes] | None:
        """Move those of ``calls`` that are in ``other`` to ``own``, and close ``other``.

        None where ``own`` is closed.
        """
        taken = await self._between(_TAKE, own, other, calls)
        if taken is None:
            return None
        return {_text(call): record for call, record in zip(taken[::2], taken[1::2], strict=True)}

    async def forget(self, own: Estate, other: Estate, calls: Sequence[str]) -> None:
        """``calls`` are no longer in ``other``, whatever this Redis thinks."""
        await self._between(_FORGET, own, other, calls)

    async def _between(self, script: str, own: Estate, other: Estate, calls: Sequence[str]) -> Any:
        keys = [*self._keys(own), self._calls(other), self._key(f"closed:{other.name}")]
        words = [own.name, other.name, KEPT, *map(_bytes, calls)]
        return await self._run(script, keys, words)

    async def _run(self, script: str, keys: list[str], words: Sequence[Any]) -> Any:
        return await self._client.eval(script, keys, words)

    def _keys(self, own: Estate) -> list[str]:
        return [self._calls(own), self._key(f"closed:{own.name}"), self._key("estates")]

    def _calls(self, estate: Estate) -> str:
        return self._key(f"calls:{estate.name}")

    def _key(self, name: str) -> str:
        return self._prefix + name


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")

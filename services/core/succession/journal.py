"""Writes this server's calls to Redis as they change, and all of them whenever it may lack some."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

import trio

from services.core.failover.clock import now
from services.core.redis import reason
from services.core.succession.estates import Estates
from services.core.succession.inheritance import Estate

log = logging.getLogger(__name__)

GATHER = 0.02
"""Seconds for which changes are gathered: of one call only the last is written."""
IDLE = 1.0
"""Seconds between looks whether Redis still has what it was given, when there is nothing else."""
AGAIN = 0.3
BATCH = 100
REMEMBERED = 10.0
"""Seconds for which it is done once more for a Redis that is another one suddenly, or has lost
what it said it had: what was erased, and what was taken from others."""


class Journal:
    """`write` and `erase` return at once; `run` has to run, or nothing is kept.

    ``closed`` is called when others have taken calls from this server's estate: to them it is gone.
    A Redis that is away costs no call: all is written when it is back.
    """

    def __init__(
        self, server: str, connect: Callable[[], Estates], closed: Callable[[], None]
    ) -> None:
        self._server = server
        self._given: Estate | None = None
        self._connect = connect
        self._closed = closed
        self.problem = "Redis has not been asked yet"
        """Why calls are not written down; empty while they are."""
        self._clean = trio.Event()
        self._wake = trio.Event()
        self.renew()

    def renew(self) -> None:
        """Begin a new life without calls, in an estate of its own."""
        self.estate = Estate(self._server, secrets.token_hex(6))
        self._records: dict[str, bytes] = {}
        self._dirty: dict[str, None] = {}
        self._erased: dict[str, float] = {}
        self._taken: dict[str, tuple[Estate, float]] = {}
        self._everything()
        self._wake.set()

    def write(self, call: str, record: bytes) -> None:
        """Where a call is. ``call`` is its Call-ID."""
        self._records[call] = record
        self._erased.pop(call, None)
        self._change(call)

    def erase(self, call: str) -> None:
        """It is over; nothing if it is not there."""
        if self._records.pop(call, None) is not None:
            self._erased[call] = float("inf")
            self._taken.pop(call, None)
            self._change(call)

    def take(self, other: Estate, records: Mapping[str, bytes]) -> dict[str, bytes]:
        """Note what Redis has moved here from ``other``; those that were not ours already."""
        self._given = self.estate
        fresh = {call: record for call, record in records.items() if call not in self._records}
        for call in records:
            self._taken[call] = (other, now())
            if call not in fresh:  # what is written now is older than ours
                self._change(call)
        self._records.update(fresh)
        return fresh

    @property
    def clean(self) -> bool:
        """Whether all is written."""
        return self._clean.is_set()

    async def flush(self) -> None:
        """Return when all is written, which may take for ever."""
        while not self._clean.is_set():
            self._wake.set()
            await self._clean.wait()

    async def run(self) -> None:
        """Write what there is to write, for ever."""
        while True:
            try:
                estates = self._connect()
                async with estates.connected():
                    self._everything()
                    await self._write_on(estates)
            except* Exception as group:  # noqa: BLE001 - whatever a client has to say, calls go on
                self._failed(group)
            await trio.sleep(AGAIN)

    def _change(self, call: str) -> None:
        self._dirty[call] = None
        self._unclean()
        self._wake.set()

    def _everything(self) -> None:
        self._all = True
        self._unclean()

    def _unclean(self) -> None:
        if self._clean.is_set():
            self._clean = trio.Event()

    def _failed(self, error: BaseException) -> None:
        problem = f"calls are not written down: Redis: {reason(error)}"
        if problem != self.problem:
            log.warning("%s", problem)
        self.problem = problem

    async def _write_on(self, estates: Estates) -> None:
        while True:
            self._wake = trio.Event()
            await self._write_all(estates)
            with trio.move_on_after(IDLE):
                await self._wake.wait()
                await trio.sleep(GATHER)

    async def _write_all(self, estates: Estates) -> None:
        """All that there is; returns when all is written or the estate is another."""
        own = self.estate
        while True:
            given = self._given == own
            if self._all:
                self._all = False
                standing = await estates.open(own)
                for other, calls in self._lately_taken().items():
                    await estates.forget(own, other, calls)
                self._dirty = dict.fromkeys([*self._erased, *self._records])
            else:
                standing = await self._write_some(estates, own)
            if self.estate != own:
                return
            if standing == "closed" and not given:
                # It was empty: who did not know yet that we are back cleared it away. What we have
                # got since is nobody else's.
                self.estate = own = Estate(self._server, secrets.token_hex(6))
                self._everything()
                continue
            if standing == "closed":
                log.warning("others have taken this server's calls over")
                self._closed()
                return
            if standing == "unknown":
                log.warning("Redis has lost calls: all are written again")
                self._all = True
            elif not self._dirty and not self._all:
                break
        if self.problem:
            log.info("calls are written down")
        self.problem = ""
        self._clean.set()

    async def _write_some(self, estates: Estates, own: Estate) -> str:
        some = list(islice(self._dirty, BATCH))
        # First: what changes while this is written has to be written once more. If it cannot be
        # written, the next connection begins with all of them.
        for call in some:
            del self._dirty[call]
        records = {call: self._records[call] for call in some if call in self._records}
        over = [call for call in some if call not in records]
        if records:
            self._given = own
        standing = await estates.write(own, records, over)
        self._forget_erased(over)
        return standing

    def _forget_erased(self, written: Iterable[str]) -> None:
        time = now()
        for call in written:
            if call in self._erased:
                self._erased[call] = min(self._erased[call], time)
        for call, since in list(self._erased.items()):
            if since > time - REMEMBERED:
                break
            del self._erased[call]

    def _lately_taken(self) -> dict[Estate, list[str]]:
        time = now()
        found: dict[Estate, list[str]] = {}
        for call, (other, since) in list(self._taken.items()):
            if since > time - REMEMBERED:
                found.setdefault(other, []).append(call)
            else:
                del self._taken[call]
        return found

"""Minutes of calls under load with a random failure each minute, and what must hold in the end.

No call that was answered is lost, each has one call record, and no program grows.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter

import msgspec
import trio

from tests.cluster.chaos.calls import LOSSES
from tests.cluster.chaos.cluster import EXTENSIONS, Cluster
from tests.cluster.chaos.memory import Use, growth, memory
from tests.cluster.chaos.vip import FAILURES, Event
from tests.cluster.measure import observed
from tests.integration.calls.party import Call, Party, connect

log = logging.getLogger("chaos")

EVERY = 60.0
"""Seconds between two failures."""
PAIRS = 8
LASTS = (2.0, 12.0)
"""Seconds for which a call is up."""
PAUSE = (0.2, 1.0)
GIVE_UP = 32.0
"""Seconds for which a BYE is repeated (RFC 3261 section 17.1.2.2, timer F)."""
WARM = 10.0
"""Seconds of calls before memory is first looked at."""


class Load:
    """Calls between pairs of phones, in a thread a pair, one after another."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self._random = random.Random(seed)  # noqa: S311 # chance that can be had again
        self.ended: list[str] = []
        self.lost: dict[str, str] = {}
        self.unanswered: list[str] = []
        pairs = [(EXTENSIONS[22 + 2 * n], EXTENSIONS[23 + 2 * n]) for n in range(PAIRS)]
        self._threads = [
            threading.Thread(
                target=self._call_on,
                args=(cluster.phone(one), cluster.phone(other)),
                daemon=True,
            )
            for one, other in pairs
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No new calls; those that are up end."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * GIVE_UP)
            assert not thread.is_alive(), "a phone hangs"

    def _call_on(self, one: Party, other: Party) -> None:
        registered = time.monotonic()
        while not self._stop.wait(self._random.uniform(*PAUSE)):
            if time.monotonic() - registered > EVERY * 3:
                registered = self._register(one, other, registered)
            up = self._begin(one, other)
            if up is None:
                continue
            self._stop.wait(self._random.uniform(*LASTS))
            first, second = up if self._random.random() < 0.5 else up[::-1]
            try:
                hang_up(first, second)
            except LOSSES as error:
                self.lost[first.call_id] = " ".join(str(error).split())[:200]
                self._afresh(one, other)
            else:
                self.ended.append(first.call_id)

    def _begin(self, one: Party, other: Party) -> tuple[Call, Call] | None:
        """A call that both sides have answered; None where it did not come to that."""
        try:
            return connect(one, other)
        except LOSSES as error:
            self.unanswered.append(str(error).partition("\n")[0])
            self._afresh(one, other)
            return None

    def _register(self, one: Party, other: Party, before: float) -> float:
        try:
            one.register()
            other.register()
        except LOSSES:
            return before  # later
        return time.monotonic()

    def _afresh(self, *parties: Party) -> None:
        """Restart phones: what was under way is of no interest to them any more."""
        for party in parties:
            party.heard.clear()
            while not self._stop.is_set():
                try:
                    self._cluster.reconnect(party)
                    break
                except LOSSES:
                    self._stop.wait(1)


def hang_up(one: Call, other: Call) -> None:
    """A BYE, repeated until it is answered, as phones do. Raises AssertionError."""
    text = one.request("BYE")
    deadline = time.monotonic() + GIVE_UP
    wait, heard = 0.5, False
    while time.monotonic() < deadline:
        one.party.send(text)
        try:
            # What is repeated, `Party` answers by itself while it listens.
            bye = other.party.expect("BYE", wait / 2, other.call_id)
            other.party.reply(bye, 200)
            heard = True
        except AssertionError:
            pass
        try:
            one.party.expect_reply("BYE", 200, wait / 2, one.call_id)
        except AssertionError as error:
            if "waited" not in str(error):
                raise
            wait = min(2 * wait, 4.0)
        else:
            assert heard, "BYE was answered by somebody else"
            return
    raise AssertionError(f"BYE unanswered for {GIVE_UP:g} s; the other side heard it: {heard}")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """``lost`` calls with why; ``records`` of calls that do not have just one."""

    seed: int
    failures: list[str]
    ended: int
    unanswered: int
    lost: dict[str, str]
    records: dict[str, int]
    before: dict[str, Use]
    after: dict[str, Use]

    def wrong(self) -> list[str]:
        """All that must not be."""
        found = [f"lost: {call}: {why}" for call, why in self.lost.items()]
        found += [f"{count} records: {call}" for call, count in self.records.items()]
        return found + growth(self.before, self.after)

    def text(self) -> str:
        failures = ", ".join(f"{n} x {what}" for what, n in Counter(self.failures).items())
        lines = [
            f"seed {self.seed}: {failures or 'no failure'}",
            f"calls answered and ended {self.ended}, lost {len(self.lost)}, "
            f"not answered while something failed {self.unanswered}, "
            f"records missing or doubled {len(self.records)}",
            *(
                f"{name}: {use.mebibytes:.0f} MiB in {use.processes} processes, "
                f"before {self.before[name].mebibytes:.0f} in {self.before[name].processes}"
                for name, use in self.after.items()
                if name in self.before
            ),
            *self.wrong(),
        ]
        return "\n".join(lines) + "\n"


async def run(cluster: Cluster, seconds: float, seed: int, every: float = EVERY) -> Report:
    """A failure every ``every`` seconds for ``seconds``, and the end of all calls."""
    view = cluster.view
    await view.ready()
    load = await trio.to_thread.run_sync(Load, cluster, seed)
    chance = random.Random(seed)  # noqa: S311 # chance that can be had again
    failures: list[str] = []
    try:
        await trio.sleep(WARM)
        before = await trio.to_thread.run_sync(memory, cluster)
        end = trio.current_time() + seconds
        while (left := end - trio.current_time()) > 0:
            turn = trio.current_time()
            if left >= min(every, seconds) / 2:
                failures.append(chance.choice(sorted(FAILURES)))
                log.info("%.0f s left: %s", left, failures[-1])
                await _fail(cluster, failures[-1])
            await trio.sleep(max(0.0, min(turn + every, end) - trio.current_time()))
    finally:
        await trio.to_thread.run_sync(load.stop)
    cluster.holder = await view.ready()
    records = await trio.to_thread.run_sync(_records, cluster, list(load.ended))
    after = await trio.to_thread.run_sync(memory, cluster)
    return Report(
        seed=seed,
        failures=failures,
        ended=len(load.ended),
        unanswered=len(load.unanswered),
        lost=load.lost,
        records=records,
        before=before,
        after=after,
    )


async def _fail(cluster: Cluster, what: str) -> None:
    view, failure = cluster.view, FAILURES[what]
    cluster.holder = holder = await view.ready()
    async with observed(view.network, cluster.vip, observer=view.phones, hosts=view.hosts) as watch:
        await watch.settled()
        event = Event(view=view, host=holder, watch=watch)
        await failure.fail(event)
        try:
            cluster.holder = await failure.after(event)
        finally:
            await failure.mend(event)
        log.info("%s: %.3f s, two holders %.3f s", what, watch.gap, watch.doubled)
    cluster.holder = await view.ready()


def _records(cluster: Cluster, calls: list[str]) -> dict[str, int]:
    """Of calls that ended, those with none or several; what is late is waited for."""
    found: dict[str, int] = {}
    deadline = time.monotonic() + 60
    for call in calls:
        while (count := len(cluster.records(call))) == 0 and time.monotonic() < deadline:
            time.sleep(0.2)
        if count != 1:
            found[call] = count
    return found

"""The VIP's holder fails while calls are up."""

from __future__ import annotations

import logging
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec
import trio

from tests.cluster.call_managers import CallManagers
from tests.cluster.chaos.calls import Phones, Up
from tests.cluster.chaos.cluster import Cluster
from tests.cluster.chaos.figures import Trial
from tests.cluster.lab import Host, until
from tests.cluster.measure import Watch, observed
from tests.cluster.signalling import CLUSTER

log = logging.getLogger("chaos")

GONE_BY = 60.0
MEND = 90.0
"""Seconds for a lab to be well again after a trial that broke off."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One failure under way: ``host`` had the VIP when it began."""

    view: CallManagers
    host: Host
    watch: Watch

    def others(self) -> list[Host]:
        return [each for each in self.view.hosts if each is not self.host]


Act = Callable[[Event], Awaitable[object]]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """``after`` waits for what comes of ``fail`` and gives the holder then; ``mend`` undoes it."""

    fail: Act
    mend: Act
    after: Callable[[Event], Awaitable[Host]]


async def _moved(event: Event) -> Host:
    heir = await event.view.elsewhere(event.host, event.watch)

    async def alone() -> bool:
        await trio.lowlevel.checkpoint()
        return event.watch.holders == [heir.name]

    await until("one holder", alone, within=15, why=event.view.network.logs)
    return heir


async def _stayed(event: Event) -> Host:
    """Whatever it was, three seconds later the same one has the VIP."""
    await trio.sleep(3)
    await event.watch.recovered()
    found = event.watch.holders
    assert found, "nobody has the VIP"
    return event.view.network[found[0]]


async def _session_over(event: Event) -> Host:
    network = event.view.network

    async def over() -> bool:
        for host in event.others():
            found = await network.ask(host.name, f"/v1/kv/pbx/{CLUSTER}/floating/vip")
            if found and "Session" not in found[0]:
                return True
        # Another took it before we looked.
        return event.watch.holders != [event.host.name]

    await until("the end of the session", over, within=GONE_BY, why=network.logs)
    return await _stayed(event)


async def _nothing(event: Event) -> None:
    """What failed is started again by itself."""
    await trio.lowlevel.checkpoint()


def _now(act: Callable[[Event], object]) -> Act:
    async def done(event: Event) -> None:
        await trio.lowlevel.checkpoint()
        act(event)

    return done


def _signalled(task: str, number: int) -> Act:
    return _now(lambda e: e.view.signal(e.host, task, number))


def _cut(direction: str) -> Failure:
    return Failure(
        fail=_now(lambda e: e.host.partition(*e.others(), direction=direction)),  # type: ignore[arg-type] # a Direction
        mend=_now(lambda e: e.host.heal()),
        after=_moved,
    )


async def _leader_off(event: Event) -> None:
    leader = await event.view.network.raft_leader()
    assert leader is not event.host, "one host holds both leaderships"
    event.watch.power_off(leader)


async def _all_on(event: Event) -> None:
    await trio.lowlevel.checkpoint()
    for host in event.view.hosts:
        if not host.on:
            event.watch.power_on(host)


async def _hand_over(event: Event) -> None:
    answer = await event.view.api(event.host, "/v1/failover", body={"to": ""})
    assert answer, "the hand-over was refused"


async def _start_consul(event: Event) -> None:
    await trio.lowlevel.checkpoint()
    event.view.network.start_consul(event.host.name)


def _killed(task: str) -> Failure:
    return Failure(fail=_signalled(task, signal.SIGKILL), mend=_nothing, after=_moved)


def _hung(task: str) -> Failure:
    mend = _signalled(task, signal.SIGCONT)
    return Failure(fail=_signalled(task, signal.SIGSTOP), mend=mend, after=_moved)


FAILURES = {
    "holder powered off": Failure(
        fail=_now(lambda e: e.watch.power_off(e.host)), mend=_all_on, after=_moved
    ),
    "Kamailio killed": _killed("kamailio"),
    "Kamailio hung": _hung("kamailio"),
    "agent killed": _killed("agent"),
    "agent hung": _hung("agent"),
    "Consul killed on the holder": Failure(
        fail=_now(lambda e: e.view.network.consul[e.host.name].kill()),
        mend=_start_consul,
        after=_session_over,
    ),
    "Raft leader's host off": Failure(fail=_leader_off, mend=_all_on, after=_stayed),
    "holder partitioned, both ways": _cut("both"),
    "holder partitioned, not heard": _cut("to"),
    "holder partitioned, hears nobody": _cut("from"),
    "planned hand-over": Failure(fail=_hand_over, mend=_nothing, after=_moved),
}
ALONE = "address alone, by ping"
"""Beside a power-off: what keepalived's figure is to be compared with."""


class Calls:
    """What the trials are made on: a cluster, and phones with calls through its VIP."""

    def __init__(self, cluster: Cluster, logs: Path | None = None) -> None:
        self.cluster = cluster
        self.phones = Phones(cluster)
        self._logs = logs

    async def trial(self, what: str) -> list[Trial]:
        """One failure, and all well again."""
        cluster, view, failure = self.cluster, self.cluster.view, FAILURES[what]
        steps = Steps()
        cluster.holder = holder = await view.ready()
        steps.done("ready")
        calls = await trio.to_thread.run_sync(self.phones.establish)
        steps.done("calls")
        async with observed(
            view.network, cluster.vip, observer=view.phones, hosts=view.hosts
        ) as watch:
            await watch.settled()
            assert watch.holders == [holder.name], f"the VIP moved before: {watch.holders}"
            event = Event(view=view, host=holder, watch=watch)
            steps.done("settled")
            await failure.fail(event)
            try:
                cluster.holder = await failure.after(event)
                gap, alone = watch.gap, watch.ping_gap
                steps.done("failed")
                finish = partial(self.phones.finish, calls, moved=cluster.holder is not holder)
                ended = await trio.to_thread.run_sync(finish)
                steps.done("ended")
            finally:
                await failure.mend(event)
            cluster.holder = await view.ready()
            doubled = watch.doubled
            steps.done("well")
        outcomes = await trio.to_thread.run_sync(self.phones.judged, ended)
        await trio.to_thread.run_sync(cluster.forget_calls)
        steps.done("judged")
        log.info("%s", steps)
        if self._logs is not None and any(one.lost or one.records != 1 for one in outcomes):
            self._keep_logs(self._logs / f"{what} {time.strftime('%H.%M.%S')}", ended)
        found = [Trial(failure=what, gap=gap, doubled=doubled, calls=outcomes)]
        if what == "holder powered off":
            found.append(Trial(failure=f"{what}: {ALONE}", gap=alone, doubled=doubled))
        return found

    def _keep_logs(self, into: Path, ended: list[tuple[Up, str]]) -> None:
        """What everybody wrote, and which Call-ID is which call."""
        lab = self.cluster.view.network.directory
        for path in lab.glob("*/*.log"):
            (into / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, into / path.relative_to(lab))
        lines = [f"{up.kind}: {up.out.call_id} {why}\n" for up, why in ended]
        (into / "calls").write_text("".join(lines))

    async def mend(self) -> None:
        """Undo whatever a trial that broke off left. Raises AssertionError if that is not enough"""
        view = self.cluster.view
        view.network.heal()
        for host in view.hosts:
            host.resume()
            host.power_on()
            if not view.network.consul[host.name].running:
                view.network.start_consul(host.name)
        self.cluster.holder = await view.ready(within=MEND)
        await trio.to_thread.run_sync(self.cluster.forget_calls)


class Steps:
    """How long each step of a trial took."""

    def __init__(self) -> None:
        self._before = trio.current_time()
        self._took: list[str] = []

    def done(self, what: str) -> None:
        now = trio.current_time()
        self._took.append(f"{what} {now - self._before:.1f}")
        self._before = now

    def __str__(self) -> str:
        return "seconds: " + ", ".join(self._took)

"""Managers, a network that does what it likes, and a registry, in one thread and no real time.

Each manager runs the real pure parts; what carries their commands here is the model. Every manager
has a clock of its own, so that nothing may compare two of them.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from services.core.failover import wire
from services.core.failover.detection import Detection
from services.core.failover.election import (
    Close,
    Command,
    Drop,
    Election,
    Keep,
    Open,
    Release,
    Take,
)
from services.core.failover.lease import Lease
from services.core.failover.suspicion import Hold, Suspect, Suspicions, Withdraw
from services.core.failover.timing import TICK
from services.core.failover.wire import Ack, Answer, Claim, Probe

T = TypeVar("T")
KEY = b"k" * 32
NAME = "vip"
DEADLINE = 0.5


def member(manager: str) -> str:
    return f"call-manager/{manager}"


@dataclass
class Consul:
    """Linearizable: every call is one transaction."""

    index: int = 1
    hold: Hold | None = None
    sessions: dict[str, str] = field(default_factory=dict[str, str])
    suspicions: dict[tuple[str, str], tuple[bool, int]] = field(
        default_factory=dict[tuple[str, str], tuple[bool, int]]
    )
    changed: Callable[[], None] = lambda: None

    def open(self, owner: str) -> Claim:
        self.index += 1
        session = f"s{self.index}"
        self.sessions[session] = owner
        return Claim(session, self.index)

    def close(self, session: str) -> None:
        if self.sessions.pop(session, None) is None:
            return
        self.index += 1
        if self.hold is not None and self.hold.session == session:
            self._put(session="")

    def take(self, owner: str, take: Take) -> Hold | None:
        over = take.over
        if (self.hold.index if self.hold else 0) != (over.index if over else 0):
            return None
        if take.session not in self.sessions:
            return None
        for manager in take.suspecting:
            assert over is not None
            if not self.suspicions.get((over.epoch, manager), (False, 0))[0]:
                return None
        self.index += 1
        self.hold = Hold(
            name=NAME,
            member=member(owner),
            epoch=take.session,
            index=self.index,
            session=take.session,
        )
        self.changed()
        return self.hold

    def release(self, release: Release) -> Hold | None:
        if self.hold is None or self.hold.index != release.hold.index:
            return None
        self.index += 1
        self._put(session="", released=True, successor=release.successor)
        return self.hold

    def judge(self, manager: str, hold: Hold, expected: int, suspected: bool) -> int | None:
        """Write a suspicion over the one at index ``expected``; its new index."""
        if self.hold is None or self.hold.index != hold.index:
            return None
        key = (hold.epoch, manager)
        if self.suspicions.get(key, (False, 0))[1] != expected:
            return None
        self.index += 1
        self.suspicions[key] = (suspected, self.index)
        self.changed()
        return self.index

    def _put(self, **changes: Any) -> None:
        assert self.hold is not None
        values: dict[str, Any] = {
            name: getattr(self.hold, name) for name in self.hold.__struct_fields__
        }
        self.index += 1
        self.hold = msgspec.convert(values | changes | {"index": self.index}, Hold)
        self.changed()


class Manager:
    """One life of one manager's process."""

    def __init__(self, world: World, name: str, names: tuple[str, ...], boot: int) -> None:
        self.world = world
        self.name = name
        self.boot = boot
        self.others = tuple(one for one in names if one != name)
        quorum = len(names) // 2 + 1
        self.lease = Lease(self.others, quorum - 1)
        self.detection = Detection(name, quorum)
        self.suspicions = Suspicions(member(name))
        self.election = Election(member(name), quorum)
        self.expected: dict[str, int] = {}
        self.beginning = False
        self.sent: dict[int, tuple[Claim, ...]] = {}

    @property
    def now(self) -> float:
        return self.world.now * 1.0 + self.world.offsets[self.name]

    def tick(self) -> None:
        self.lease.forget([claim.session for claim in self.election.claims])
        self.elect()
        self.detection.probe([member(one) for one in self.others], self.now)
        self.detection.watch(self.suspicions.watched(), self.now)
        for target, sequence in self.detection.tick(self.now):
            probe = Probe(self.name, self.boot, sequence, target)
            self.world.send(self.name, target.rpartition("/")[2], wire.encode(KEY, probe))
        if not self.suspicions.begun and not self.beginning:
            self.beginning = True
            self.world.ask(self, lambda c: ([c.hold] if c.hold else [], c.index), self._begun)
        for command in self.suspicions.decide(
            lambda m, s: self.detection.silent(m, s, self.now),
            lambda m, s: self.detection.claimed(m, s, self.now),
        ):
            self._judge(command)
        self.elect()

    def _begun(self, answer: tuple[list[Hold], int] | None) -> None:
        self.beginning = False
        if answer is not None:
            self.suspicions.begin(*answer)

    def _judge(self, command: Suspect | Withdraw) -> None:
        hold = command.hold
        if not self.world.quorum and self.world.random.random() < 0.7:
            # The local agent says that there is no leader; as a rule it knows.
            self.suspicions.spared(command)
            return
        expected = self.expected.get(hold.epoch)
        if expected is None:
            key = (hold.epoch, self.name)

            def known(found: int | None) -> None:
                if found is not None:
                    self.expected[hold.epoch] = found
                self.suspicions.done(command, succeeded=False)

            self.world.ask(self, lambda c: c.suspicions.get(key, (False, 0))[1], known)
            return

        def done(index: int | None) -> None:
            self.expected.pop(hold.epoch, None)
            if index is not None:
                self.expected[hold.epoch] = index
            self.suspicions.done(command, succeeded=index is not None)

        suspected = isinstance(command, Suspect)
        self.world.ask(self, lambda c: c.judge(self.name, hold, expected, suspected), done)

    def elect(self) -> None:
        while True:
            commands = self.election.decide(
                self.now,
                until=self.lease.until,
                refused=lambda session: self.lease.refused(session, self.now),
                eligible=self.name not in self.world.unwell,
            )
            for command in commands:
                self._carry(command)
            if not any(isinstance(command, Drop) for command in commands):
                return

    def _carry(self, command: Command) -> None:
        world, election = self.world, self.election
        if isinstance(command, Keep):
            world.keeps(self, command.until - world.offsets[self.name])
        elif isinstance(command, Drop):
            world.drops(self)
            election.dropped()
        elif isinstance(command, Open):
            world.ask(
                self,
                lambda c: c.open(self.name),
                lambda claim: election.opened(claim, self.now),
            )
        elif isinstance(command, Close):
            world.ask(self, lambda c: c.close(command.session), lambda _: None)
        elif isinstance(command, Take):
            world.ask(
                self,
                lambda c: (c.take(self.name, command),),
                lambda answer: (
                    election.took(command, None, self.now, unknown=True)
                    if answer is None
                    else election.took(command, answer[0], self.now)
                ),
            )
        else:
            world.ask(
                self,
                lambda c: c.release(command),
                lambda hold: election.released(hold, self.now),
            )

    def see(self, hold: Hold | None, suspecting: tuple[str, ...]) -> None:
        for command in self.election.see(hold, self.now):
            self._carry(command)
        if hold is not None:
            self.suspicions.see([hold])
            self.election.suspect(hold.epoch, suspecting, self.now)
        self.elect()

    def check_session(self, alive: bool, session: str) -> None:
        if not alive:
            self.election.ended(session)

    def receive(self, datagram: bytes) -> None:
        message = wire.decode(KEY, datagram)
        assert message is not None
        if isinstance(message, Probe):
            if self.name in self.world.unwell or message.target != member(self.name):
                return
            stamp = round(self.now * 1e9)
            answer = Answer(
                member(self.name),
                self.boot,
                message.boot,
                message.sequence,
                stamp,
                self.election.claims,
            )
            self.sent[stamp] = answer.claims
            self.world.send(self.name, message.manager, wire.encode(KEY, answer))
        elif isinstance(message, Answer):
            if message.manager_boot != self.boot:
                return
            source = message.source
            sessions = [claim.session for claim in message.claims]
            if not self.detection.answered(source, message.sequence, sessions, self.now):
                return
            granted = self.suspicions.grants(message.claims)
            ack = Ack(self.name, message.boot, message.stamp, granted)
            self.world.send(self.name, source.rpartition("/")[2], wire.encode(KEY, ack))
        elif isinstance(message, Ack) and message.boot == self.boot:
            claimed = [claim.session for claim in self.sent.get(message.stamp, ())]
            self.lease.ack(message.manager, message.stamp / 1e9, message.granted, claimed)
            self.elect()


class World:
    """`run` lets time pass; everything else breaks things or puts them right."""

    def __init__(self, seed: int, names: tuple[str, ...] = ("cm1", "cm2", "cm3")) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a simulation
        self.names = names
        self.now = 0.0
        self.offsets = {name: self.random.uniform(0, 1e4) for name in names}
        self.consul = Consul(changed=self._changed)
        self.loss: dict[tuple[str, str], float] = {}
        self.delay = 0.002
        self.unwell: set[str] = set()
        self.asleep: dict[str, float] = {}
        self.consul_away: set[str] = set()
        self.quorum = True
        self.slow_consul = 0.02
        self.holding: dict[str, float] = {}
        self.history: list[tuple[float, str]] = []
        self.overlaps: list[tuple[float, str, str]] = []
        self._boots = 0
        self._events: list[tuple[float, int, str, int, Callable[[], None]]] = []
        self._count = 0
        self.managers: dict[str, Manager] = {}
        for name in names:
            self.start(name)

    # what breaks

    def start(self, name: str) -> None:
        """A new life of the process; the old one's addresses are in the kernel till they expire."""
        self._boots += 1
        self.managers[name] = Manager(self, name, self.names, self._boots)
        self.managers[name].see(None, ()) if self.consul.hold is None else None
        self._tick(name, self._boots)
        self._look(name, self._boots)

    def stop(self, name: str) -> None:
        self._boots += 1
        self.managers[name].boot = -self._boots
        self.holding[name] = min(self.holding.get(name, 0.0), self.now)

    def holders(self) -> list[str]:
        return [name for name, until in self.holding.items() if until > self.now]

    # what the managers do

    def keeps(self, manager: Manager, until: float) -> None:
        for other, end in self.holding.items():
            if other != manager.name and end > self.now + 1e-9:
                self.overlaps.append((self.now, manager.name, other))
        if self.holding.get(manager.name, 0.0) <= self.now:
            self.history.append((self.now, manager.name))
        self.holding[manager.name] = until

    def drops(self, manager: Manager) -> None:
        self.holding[manager.name] = min(self.holding.get(manager.name, 0.0), self.now)

    def send(self, source: str, target: str, datagram: bytes) -> None:
        if self.random.random() < self.loss.get((source, target), 0.0):
            return
        delay = self.random.expovariate(1 / self.delay)
        for _ in range(2 if self.random.random() < 0.02 else 1):
            self.at(delay, target, lambda: self._receive(target, datagram))

    def _receive(self, target: str, datagram: bytes) -> None:
        manager = self.managers[target]
        if manager.boot > 0:
            manager.receive(datagram)

    def ask(
        self,
        manager: Manager,
        operation: Callable[[Consul], T],
        then: Callable[[T | None], None],
    ) -> None:
        """One request; ``then`` gets None where no answer comes in time, done or not."""
        answered = False

        def reply(result: T | None) -> None:
            nonlocal answered
            if not answered and self.managers[manager.name] is manager and manager.boot > 0:
                answered = True
                then(result)
                manager.elect()

        def arrive() -> None:
            if not self.quorum:
                if self.random.random() < 0.5:  # held until there is a leader
                    self.at(self.random.uniform(0, 4), "", arrive)
                return
            result = operation(self.consul)
            if self.random.random() < 0.95:
                back = self.random.expovariate(1 / self.slow_consul)
                self.at(back, manager.name, lambda: reply(result))

        if manager.name not in self.consul_away:
            self.at(self.random.expovariate(1 / self.slow_consul), "", arrive)
        self.at(DEADLINE, manager.name, lambda: reply(None))

    # time

    def at(self, delay: float, name: str, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, name, 0, action))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            when, count, name, _, action = heapq.heappop(self._events)
            wakes = self.asleep.get(name, 0.0)
            if wakes > when:
                heapq.heappush(self._events, (wakes, count, name, 0, action))
                continue
            self.now = max(self.now, when)
            action()
        self.now = end

    def _tick(self, name: str, boot: int) -> None:
        manager = self.managers[name]
        if manager.boot == boot:
            manager.tick()
            self.at(TICK * self.random.uniform(0.9, 1.3), name, lambda: self._tick(name, boot))

    def _look(self, name: str, boot: int) -> None:
        """What a session's checks and a watch that begins anew would tell."""
        manager = self.managers[name]
        if manager.boot != boot:
            return
        if self.quorum and name not in self.consul_away:
            self._picture(name)
            for claim in manager.election.claims:
                manager.check_session(claim.session in self.consul.sessions, claim.session)
        self.at(self.random.uniform(0.5, 1.0), name, lambda: self._look(name, boot))

    def _changed(self) -> None:
        for name in self.managers:
            self._picture(name)

    def _picture(self, name: str) -> None:
        hold = self.consul.hold
        epoch = hold.epoch if hold else ""
        suspecting = tuple(
            manager
            for (of, manager), (yes, _) in self.consul.suspicions.items()
            if of == epoch and yes
        )
        if name in self.consul_away:
            return
        manager = self.managers[name]

        def show() -> None:
            alive = self.managers[name] is manager and manager.boot > 0
            if alive and (hold is not None or manager.election.hold is None):
                manager.see(hold, suspecting)

        self.at(self.random.expovariate(1 / self.slow_consul), name, show)

"""A manager's probes of every server, its suspicions, and what two managers agree is down."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from functools import partial

import trio

from services.core.discovery import Instance, Registry, RegistryError
from services.core.failover.clock import now
from services.core.failover.detection import Detection
from services.core.failover.member import MANAGER
from services.core.failover.responder import Responder
from services.core.failover.suspicion import Suspect, Suspicions, Withdraw
from services.core.failover.timing import PROBE, TICK
from services.core.failover.wire import Ack, Answer, Probe, with_down

log = logging.getLogger(__name__)

LEADER_WITHIN = 0.3
"""Seconds for the local agent to say whether the registry has a leader."""
AGAIN = 0.5
"""Seconds between two attempts to read the registry when beginning."""


class Detector:
    """Runs in managers only. Probes every instance of the cluster that has ``probe`` in its meta.

    While the registry is away the servers known last are probed on.
    """

    def __init__(self, responder: Responder, registry: Registry) -> None:
        member = responder.member
        self._responder = responder
        self._registry = registry
        self._member = member
        self._detection = Detection(member.server, member.quorum)
        self._suspicions = Suspicions(member.name)
        self._peers = {
            f"{MANAGER}/{peer.name}": (peer.address, member.port) for peer in member.others
        }
        self._found: dict[str, dict[str, tuple[str, int]]] = {}
        self._down: frozenset[tuple[str, str]] = frozenset()
        self._changed = trio.Event()
        self._book = responder.book(registry)
        responder.answered = self._answered
        responder.opinion = self._heard
        responder.members = self._targets

    @property
    def down(self) -> frozenset[tuple[str, str]]:
        """(role, server) that a majority of managers could not reach three times in a row.

        One comes back after it has answered for 2 s on end.
        """
        return self._down

    async def changes(self) -> AsyncIterator[frozenset[tuple[str, str]]]:
        """``down`` at once and whenever it has changed."""
        while True:
            changed = self._changed
            yield self._down
            await changed.wait()

    async def run(self) -> None:
        """Probe, for ever."""
        if not self._member.managers:
            await trio.sleep_forever()
        self._book.listen(self._see)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._begin)
            nursery.start_soon(self._follow_services, nursery)
            while True:
                self._tick(nursery)
                await trio.sleep(TICK)

    def _tick(self, nursery: trio.Nursery) -> None:
        time = now()
        targets = self._targets()
        detection, member = self._detection, self._member
        detection.probe(targets.keys(), time)
        detection.watch(self._suspicions.watched(), time)
        for target, sequence in detection.tick(time):
            probe = Probe(member.server, self._responder.boot, sequence, target)
            self._responder.send(probe, targets[target])
        commands = self._suspicions.decide(
            lambda m, s: detection.silent(m, s, time), lambda m, s: detection.claimed(m, s, time)
        )
        for command in commands:
            nursery.start_soon(self._judge, command)
        down = frozenset(_split(name) for name in detection.down)
        if down != self._down:
            for role, server in sorted(down - self._down):
                log.warning("%s on %s does not answer", role, server)
            for role, server in sorted(self._down - down):
                log.info("%s on %s answers again", role, server)
            self._down = down
            self._changed.set()
            self._changed = trio.Event()

    def _targets(self) -> dict[str, tuple[str, int]]:
        targets = dict(self._peers)
        for found in self._found.values():
            targets.update(found)
        targets.pop(self._member.name, None)
        return targets

    def _answered(self, answer: Answer, sender: tuple[str, int]) -> None:
        if answer.manager_boot != self._responder.boot:
            return
        sessions = [claim.session for claim in answer.claims]
        if not self._detection.answered(answer.source, answer.sequence, sessions, now()):
            return
        granted = self._suspicions.grants(answer.claims)
        ack = Ack(self._member.server, answer.boot, answer.stamp, granted)
        # Its own role first: that is who it has to replace.
        role = answer.source.partition("/")[0]
        missed = sorted(
            self._detection.missed(now()), key=lambda member: (_split(member)[0] != role, member)
        )
        self._responder.send(with_down(ack, missed), sender)

    def _heard(self, ack: Ack) -> None:
        self._detection.heard(ack.manager, ack.down, now())

    def _see(self) -> None:
        self._suspicions.see(self._book.holds.values())

    async def _begin(self) -> None:
        """What this manager may grant it knows once it has read every name in this life."""
        while True:
            try:
                holds, index = await self._book.begin()
            except RegistryError as error:
                log.warning("nothing is granted until the registry is read: %s", error)
                await trio.sleep(AGAIN)
            else:
                self._suspicions.begin(holds, index)
                return

    async def _judge(self, command: Suspect | Withdraw) -> None:
        hold, suspected = command.hold, isinstance(command, Suspect)
        if not await self._has_leader():
            await trio.sleep(PROBE)
            self._suspicions.spared(command)
            return
        succeeded = False
        try:
            succeeded = await self._book.judge(command, self._member.server)
        except RegistryError as error:
            log.warning("%s: suspicion of %s: %s", hold.name, hold.member, error)
            await trio.sleep(PROBE / 2)
        if succeeded:
            words = "is suspected" if suspected else "is suspected no longer"
            log.warning("%s: %s %s", hold.name, hold.member, words)
        self._suspicions.done(command, succeeded)

    async def _has_leader(self) -> bool:
        with trio.move_on_after(LEADER_WITHIN):
            try:
                return bool(await self._registry.leader())
            except RegistryError:
                return False
        return False

    async def _follow_services(self, nursery: trio.Nursery) -> None:
        followed: set[str] = set()
        async for services in self._registry.watch_services():
            for name, tags in services.items():
                if self._member.cluster in tags and name not in followed:
                    followed.add(name)
                    nursery.start_soon(partial(self._follow_role, name))

    async def _follow_role(self, role: str) -> None:
        async for instances in self._registry.watch_health(role):
            found = {
                f"{role}/{instance.meta['server']}": where
                for instance in instances
                if instance.meta.get("cluster") == self._member.cluster
                and "server" in instance.meta
                and (where := _where(instance)) is not None
            }
            self._found[role] = found


def _where(instance: Instance) -> tuple[str, int] | None:
    host, _, port = instance.meta.get("probe", "").rpartition(":")
    if not host or not port.isdigit():
        return None
    return host.strip("[]"), int(port)


def _split(name: str) -> tuple[str, str]:
    role, _, server = name.partition("/")
    return role, server

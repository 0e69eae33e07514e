"""A lease that has ended is noticed before anything else is done."""

from __future__ import annotations

import time

import trio

from services.core.failover import Fence, Member, Responder
from services.core.failover.clock import now
from services.core.failover.timing import LEASE
from services.core.settings import Peer

MANAGERS = tuple(Peer(f"cm{number}", f"127.0.0.{number}") for number in (1, 2, 3))


class Probed:
    """A server, its fence, and what came of it."""

    def __init__(self, managers: tuple[Peer, ...] = MANAGERS) -> None:
        member = Member(
            cluster="c",
            role="ivr",
            server="ivr1",
            address="127.0.0.9",
            port=7104,
            managers=managers,
            key=b"k" * 32,
        )
        self.responder = Responder(member, well=lambda: True)
        self.happened: list[str] = []
        self.until = 0.0
        self.fence = Fence(
            self.responder, lost=lambda: self.happened.append("lost"), renewed=self._renewed
        )

    def _renewed(self, until: float) -> None:
        self.until = until

    def acknowledge(self, *managers: str) -> None:
        """As `Responder` does when they have."""
        self.fence.look()
        for manager in managers:
            self.responder.lease.ack(manager, now(), (), ())
        self.fence.granted()


def test_two_managers_renew_it_and_one_does_not() -> None:
    probed = Probed()
    probed.acknowledge("cm1")
    assert not probed.fence.held
    probed.acknowledge("cm2")
    assert probed.fence.held
    assert 0 < probed.until - now() <= LEASE
    assert not probed.fence.held_for(0.2)


def test_a_lapse_is_noticed_though_it_is_renewed_at_once() -> None:
    probed = Probed()
    probed.acknowledge("cm1", "cm2")
    time.sleep(LEASE + 0.01)
    probed.acknowledge("cm1", "cm2")
    assert probed.happened == ["lost"]
    assert probed.fence.held
    assert not probed.fence.held_for(LEASE)


def test_where_nobody_probes_nothing_is_lost() -> None:
    probed = Probed(managers=())
    assert probed.fence.held
    assert probed.fence.held_for(1000)
    probed.fence.look()
    assert probed.happened == []


async def test_who_was_stopped_looks_before_any_task_goes_on() -> None:
    probed = Probed()
    woken = trio.Event()

    async def work() -> None:
        await woken.wait()
        probed.happened.append("work")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(probed.fence.run)
        nursery.start_soon(work)
        await trio.lowlevel.checkpoint()
        probed.acknowledge("cm1", "cm2")
        woken.set()
        time.sleep(LEASE + 0.01)  # noqa: ASYNC251 - as if the process had been stopped
        await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    assert probed.happened == ["lost", "work"]

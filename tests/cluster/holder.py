"""The only manager of a cluster, and nothing of it but what holds the VIP: run on a lab's host.

python -m tests.cluster.holder ADDRESS CIDR...
"""

from __future__ import annotations

import logging
import signal
import sys

import trio

from services.core.discovery import Registry
from services.core.failover import Floating, Member, Responder
from services.core.settings import Peer


async def hold(address: str, cidrs: tuple[str, ...]) -> None:
    """Until SIGTERM."""
    member = Member(
        cluster="acme",
        role="call-manager",
        server="cm1",
        address=address,
        port=7100,
        managers=(Peer("cm1", address),),
        key=b"k" * 32,
        is_manager=True,
    )
    responder = Responder(member, lambda: True)
    async with Registry("http://127.0.0.1:8500") as registry, trio.open_nursery() as nursery:
        nursery.start_soon(Floating(responder, registry, "vip", addresses=cidrs).run)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                break
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    trio.run(hold, sys.argv[1], tuple(sys.argv[2:]))

"""What a Call Manager does about others' failures, and nothing else: run on each manager's host.

python -m tests.cluster.prober, with the settings of a role in its environment
"""

from __future__ import annotations

import logging

import trio

from services.core.discovery import Registry
from services.core.failover import Detector, Responder, member_of
from services.core.failover.priority import hurry
from services.core.settings import Settings, from_environment


class ProberSettings(Settings, frozen=True, kw_only=True):
    managers: str
    probe_port: int = 7100


async def probe(settings: ProberSettings) -> None:
    member = member_of(
        settings, "call-manager", port=settings.probe_port, managers=settings.managers
    )
    responder = Responder(member, well=lambda: True)
    async with Registry(settings.registry) as registry, trio.open_nursery() as nursery:
        detector = Detector(responder, registry)
        await nursery.start(responder.run)
        nursery.start_soon(detector.run)
        async for down in detector.changes():
            logging.warning("down: %s", sorted(down))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    hurry()
    trio.run(probe, from_environment(ProberSettings))

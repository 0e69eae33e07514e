"""An application server that has calls and plays something to each: run by the tests.

python -m tests.integration.succession.app_server PLACE, a `Place` as JSON; what it is to do comes
on stdin, a word and its object a line, and what happens goes to stdout likewise.
"""

from __future__ import annotations

import logging
import os
import sys

import msgspec
import trio

from services.core.audio import AudioPlane, Leg
from services.core.configuration import Switch
from services.core.discovery import Check, Registry, Service, Status
from services.core.failover import Member, Responder
from services.core.failover.priority import hurry
from services.core.membership import Membership
from services.core.settings import Peer
from services.core.succession.succession import Succession

ROLE = "ivr"
PROBE_PORT = 7104


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Calls are heard at ``phone``, each at the port that its record says."""

    cluster: str
    server: str
    address: str
    managers: tuple[Peer, ...]
    registry: str
    redis: tuple[str, int]
    phone: str


class AppServer:
    """Its calls are legs, its records the ports that they are heard at."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.legs: dict[str, Leg] = {}
        self.switch = Switch()

    async def run(self) -> None:
        place = self.place
        member = Member(
            cluster=place.cluster,
            role=ROLE,
            server=place.server,
            address=place.address,
            port=PROBE_PORT,
            managers=place.managers,
            key=bytes.fromhex("5e" * 32),
        )
        responder = Responder(member, well=lambda: True)
        service = Service(
            id=f"{place.cluster}-{ROLE}-{place.server}",
            name=ROLE,
            address=place.address,
            tags=(place.cluster,),
            meta={"cluster": place.cluster, "server": place.server, "probe": responder.probe},
            checks=(Check(ttl=10, name="check"),),
        )
        async with (
            Registry(place.registry) as registry,
            AudioPlane(place.address, ports=(18000, 18007), capacity=50) as self.plane,
            trio.open_nursery() as nursery,
        ):
            hurry()
            await nursery.start(responder.run)
            membership = Membership(
                registry, place.cluster, place.server, lambda: service, self._report
            )
            self.succession = Succession(
                responder,
                registry,
                place.redis,
                adopt=self._adopt,
                drop=self._drop,
                ready=lambda: self.switch.state == "enabled",
                speak_until=self.plane.speak_until,
            )
            nursery.start_soon(membership.report)
            nursery.start_soon(membership.follow_switch, self._switched)
            nursery.start_soon(self.succession.run)
            nursery.start_soon(self._tell_candidates)
            await self._obey(membership)
            nursery.cancel_scope.cancel()

    async def _obey(self, membership: Membership) -> None:
        async for lines in trio.lowlevel.FdStream(os.dup(0)):
            for word, _, value in (line.partition(" ") for line in lines.decode().splitlines()):
                if word == "call":
                    call, _, port = value.partition(" ")
                    self.succession.journal.write(call, port.encode())
                    self._serve(call, int(port))
                elif word == "flush":
                    await self.succession.journal.flush()
                    say("flushed", "")
                elif word == "leave":
                    say("left", str(await self.succession.hand_over()))
                    await membership.leave()
                    return

    async def _tell_candidates(self) -> None:
        said = ""
        while True:
            found = ",".join(self.succession.candidates)
            if found != said:
                say("candidates", found)
            said = found
            await trio.sleep(0.05)

    def _report(self) -> tuple[Status, str]:
        return "passing", ""

    def _switched(self, switch: Switch) -> None:
        self.switch = switch

    def _adopt(self, call: str, record: bytes) -> None:
        self._serve(call, int(record))
        say("adopted", call)

    def _serve(self, call: str, port: int) -> None:
        leg = self.legs[call] = self.plane.leg()
        leg.connect(self.place.phone, port, codec="PCMU/8000", payload_type=0)
        leg.play(self.plane.beep(), loop=True)

    def _drop(self) -> None:
        for leg in self.legs.values():
            leg.close()
        say("dropped", str(len(self.legs)))
        self.legs.clear()


def say(word: str, value: str) -> None:
    print(word, value, flush=True)  # noqa: T201 - that is how the test hears of it


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    trio.run(AppServer(msgspec.json.decode(sys.argv[1], type=Place)).run)

"""What callers, their phones and web services send is data: an IVR server lives, and goes on."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from pbxctl.probe import audio
from services.core.audio import AudioPlane
from services.core.menus import Collect, Enter, Fetch, HangUp, Menu, Say
from services.core.sip import UserAgent
from services.ivr.server import Server
from services.ivr.web import AT_ONCE, open_web
from tests.integration.ivr.hostile_phone import OFFERS, flood, raw_phone
from tests.integration.ivr.hostile_web import BAD, HostileWeb, hostile_web
from tests.integration.ivr.two_servers import KEY, Cluster, adopt, cluster, gone, no_secrets
from tests.support.faults import no_fault
from tests.support.ivr_phone import RATE, IvrPhone
from tests.support.redis import redis
from tests.support.waiting import until

__all__ = ["cluster", "no_fault", "redis"]

# An answer that is not read to its end leaves generators of httpx and httpcore behind.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")

FINE, SORRY, AT_MENU = 2, 1, 0
"""Which of the probe's voices is what."""
DEADLINE = 2


class Callers:
    """Phones at one address; each call is another one's, and no two share a port."""

    def __init__(self, agent: UserAgent, plane: AudioPlane, cluster: Cluster, at: str) -> None:
        self._agent = agent
        self._plane = plane
        self._cluster = cluster
        self._at = at
        self._calls = 0
        self._room = trio.CapacityLimiter(len(plane.ports))

    async def hears(self, menu: str, voice: int) -> None:
        """Who calls ``menu`` hears a voice, and no other one, and then the call ends."""
        self._calls += 1
        heard = self._cluster.directory / f"{self._agent.address}-{self._calls}.wav"
        phone = IvrPhone(self._agent, self._plane, heard)
        async with self._room, trio.open_nursery() as nursery:
            nursery.start_soon(phone.dial, self._at, KEY, menu)
            with trio.fail_after(DEADLINE + 20):
                await phone.answered.wait()
                await phone.call.wait_ended()
            phone.stop()
        for other in (FINE, SORRY, AT_MENU):
            found = audio.judge(phone.sound(), RATE, other)
            assert (found.likeness > 0.5) == (other == voice), f"{menu}, voice {other}: {found}"


@asynccontextmanager
async def callers(cluster: Cluster, server: Server, host: int = 21) -> AsyncGenerator[Callers]:
    address = f"{cluster.network}.{host}"
    async with (
        AudioPlane(address, ports=(18000, 18007), capacity=5) as plane,
        UserAgent(address, 5060, name="phones") as agent,
    ):
        yield Callers(agent, plane, cluster, server.agent.address)


def _menus(cluster: Cluster, web: HostileWeb) -> None:
    fine, sorry = cluster.voice(FINE, 1.5), cluster.voice(SORRY, 1.5)
    asking = [
        Menu(
            name=name,
            before=(
                Fetch(
                    url=web.url + name,
                    take={"to": "to"},
                    deadline=DEADLINE,
                    otherwise=(HangUp(prompt=sorry),),
                ),
                HangUp(prompt=fine),
            ),
        )
        for name in ("fine", *BAD)
    ]
    collect = Collect(prompt=cluster.voice(AT_MENU, 1.5), into="n", after=2, retries=0)
    keys = Menu(name="keys", before=(collect, Say(kind="number", value="{n}"), Enter(menu="keys")))
    cluster.menus(*asking, keys)


@asynccontextmanager
async def attacked(cluster: Cluster) -> AsyncGenerator[tuple[Server, HostileWeb, Callers]]:
    """A server whose good callers hear what they should at the end, whatever came before."""
    async with (
        hostile_web(f"{cluster.network}.31") as web,
        cluster.server(11) as (server, _),
        callers(cluster, server) as there,
    ):
        _menus(cluster, web)
        yield server, web, there
        await there.hears("fine", FINE)
        assert not server.sessions
        assert not cluster.journal


async def test_whatever_a_web_service_answers(cluster: Cluster) -> None:
    """Many at once: the callers hear what is said otherwise, and a good service is heard."""
    async with (
        attacked(cluster) as (server, web, there),
        callers(cluster, server, 22) as more,
        callers(cluster, server, 23) as most,
        trio.open_nursery() as nursery,
    ):
        for name, who in zip(BAD, itertools.cycle((more, most)), strict=False):
            nursery.start_soon(who.hears, name, SORRY)
        await there.hears("fine", FINE)
    assert len(web.asked) == len(BAD) + 2
    assert not [asked for asked in web.asked if b"cookie" in asked.lower()]


async def test_a_tenant_has_its_own_turns(cluster: Cluster) -> None:
    async with hostile_web(f"{cluster.network}.31") as web, open_web(no_secrets) as asks:
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(asks.ask, "acme", web.url + "silent", {}, 20)
            await until(lambda: len(web.asked) == AT_ONCE)
            assert await asks.ask("acme", web.url + "fine", {}, 0.3) is None
            assert await asks.ask("other", web.url + "fine", {}, 5) == {"to": "fine"}
            nursery.cancel_scope.cancel()
        assert await asks.ask("acme", web.url + "fine", {}, 5) == {"to": "fine"}
        asked = len(web.asked)
        assert await asks.ask("acme", web.url + "fine", {}, 5, "web.acme.gone") is None
        assert len(web.asked) == asked


async def test_whatever_a_phone_offers(cluster: Cluster) -> None:
    async with attacked(cluster) as (server, _, there):
        found: dict[str, int] = {}

        async def one(kind: str, offer: str) -> None:
            async with raw_phone(cluster, server) as phone:
                found[kind] = await phone.invite(offer)
                await trio.sleep(0.5)
                await phone.bye()

        async with trio.open_nursery() as nursery:
            for kind, offer in OFFERS.items():
                nursery.start_soon(one, kind, offer)
            await there.hears("fine", FINE)
        assert found["good"] == found["no UTF-8"] == found["wild codecs"] == 200
        # The call whose INVITE has no offer is answered with one, which nobody answers.
        assert found["none"] == 200
        for kind in ("no media", "video alone", "other codecs", "no lines"):
            assert found[kind] == 488, kind
        assert set(found.values()) <= {200, 400, 488}, found


async def test_names_of_any_bytes_are_written_down(cluster: Cluster) -> None:
    """A call that could not be written down would be lost, at once or with its server."""
    name = b'"M\xfcller \xff\xfe" '.decode("utf-8", "surrogateescape")
    async with (
        hostile_web(f"{cluster.network}.31") as web,
        cluster.server(11) as (server, _),
        cluster.server(12) as (second, continuity),
        raw_phone(cluster, server) as phone,
    ):
        _menus(cluster, web)
        assert await phone.invite(OFFERS["good"], name, ("Allow", name)) == 200
        await until(lambda: cluster.journal)
        gone(server)
        adopt(cluster, continuity)
        await until(lambda: second.sessions)


@pytest.mark.parametrize("method", ["INFO", "REFER", "UPDATE", "MESSAGE", "NOTIFY", "PRACK"])
async def test_garbage_within_a_call(cluster: Cluster, method: str) -> None:
    bodies = [b"", b"Signal=", b"Signal=99\r\nDuration=-1", bytes(range(256)) * 200, b"\xff" * 60]
    kinds = ["application/dtmf-relay", "application/sdp", "multipart/mixed", "\udcff/\udcfe"]
    async with attacked(cluster) as (server, _, _), raw_phone(cluster, server) as phone:
        assert await phone.invite(OFFERS["good"]) == 200
        for body in bodies:
            for kind in kinds:
                wild = [("Refer-To", "\udcff"), ("Event", "\udcff;id=\udcfe"), ("RAck", "x y z")]
                fields = [*phone.fields(method), ("Content-Type", kind), *wild]
                await phone.send(method, fields, body)
                assert 200 <= await phone.answered() < 700
        await phone.bye()


async def test_a_flood_of_keys(cluster: Cluster) -> None:
    async with attacked(cluster) as (server, _, there), raw_phone(cluster, server) as phone:
        assert await phone.invite(OFFERS["good"]) == 200
        await trio.to_thread.run_sync(flood, phone.speaks_from, phone.heard_at)
        await there.hears("fine", FINE)
        await phone.bye()

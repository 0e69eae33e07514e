"""The embedded registry as its clients live with it: through the engine's death."""

from __future__ import annotations

import os
import signal

import trio

from services.core.discovery import Check, Registry, Service
from tests.integration.engine.conftest import Bench
from tests.support.waiting import eventually

MEDIA = Service(id="test-media-m1", name="media", checks=(Check(ttl=5),))


async def _die(bench: Bench) -> None:
    os.kill(bench.pid(), signal.SIGKILL)
    await eventually(lambda: _gone(bench))


async def _gone(bench: Bench) -> bool:
    return not bench.pid()


async def test_what_was_written_survives_a_kill(bench: Bench) -> None:
    await bench.engine.start()
    async with Registry((await bench.engine.endpoints()).registry) as registry:
        for number in range(50):
            assert await registry.put(f"pbx/test/{number}", str(number).encode())
        before = await registry.list("pbx/test/")
        await _die(bench)
        await bench.engine.start()
        assert await registry.list("pbx/test/") == before


async def test_watches_go_on_and_services_come_back(bench: Bench) -> None:
    await bench.engine.start()
    async with Registry((await bench.engine.endpoints()).registry) as registry:
        await registry.register(MEDIA)
        await registry.report(MEDIA.id, "passing", "RTP echo 0.3 ms")
        await registry.put("pbx/test/a", b"1")
        values, health = registry.watch("pbx/test/"), registry.watch_health("media")
        with trio.fail_after(60):
            assert await anext(values) == {"pbx/test/a": b"1"}
            (instance,) = await anext(health)
            assert instance.passing
            await _die(bench)
            pictures: list[dict[str, bytes]] = []

            async def follow() -> None:
                async for picture in values:
                    pictures.append(picture)
                    if "pbx/test/b" in picture:
                        return

            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow)
                await trio.sleep(0.5)
                assert pictures == []
                await bench.engine.start()
                # Nobody takes a live service for dead because the registry was away.
                (instance,) = await registry.health("media")
                assert instance.passing
                await registry.report(MEDIA.id, "passing", "still")
                await registry.put("pbx/test/b", b"2")
            assert pictures[-1] == {"pbx/test/a": b"1", "pbx/test/b": b"2"}


async def test_a_service_that_the_registry_forgot_is_registered_again(bench: Bench) -> None:
    await bench.engine.start()
    url = (await bench.engine.endpoints()).registry
    async with Registry(url) as registry, Registry(url) as other:
        await registry.register(MEDIA)
        await other.deregister(MEDIA.id)
        assert await registry.health("media") == ()
        await registry.report(MEDIA.id, "passing", "here I am")
        (instance,) = await registry.health("media")
        assert (instance.status, instance.output) == ("passing", "here I am")

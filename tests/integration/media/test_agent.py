from __future__ import annotations

import re
import sys
from pathlib import Path

import httpx
import pytest
import trio

from services.core.configuration import Switch, decode, prefix
from services.core.ng import open_ng
from tests.integration.media.media_server import CLUSTER, MediaServer, media_server
from tests.integration.media.phone import Call, phone
from tests.integration.media.test_calls import SRTP
from tests.support.hanging import hung


async def test_it_registers_once_an_rtp_packet_has_come_back() -> None:
    async with media_server() as (server, registry):
        server.start("rtpengine")
        server.start("agent")
        instance = await server.until_up(registry)
        s = server.settings
        assert instance.id == "test-media-media1"
        assert set(instance.tags) == {"test", "release-1.0.0", "capacity-100"}
        assert instance.meta == {
            "cluster": "test",
            "server": "media1",
            "release": "1.0.0",
            "capacity": "100",
            "admin": f"http://{s.address}:7081",
            "control": f"{s.address}:2223",
            "announce": f"{s.address}:5090",
            "media_address": s.media_address,
        }
        found = re.fullmatch(r"RTP echo (\d+\.\d) ms", instance.output)
        assert found
        async with open_ng(s.address, s.control_port) as ng:
            calls = (await ng.command("list", {"limit": "10"}))["calls"]
            assert isinstance(calls, list)
            assert len(calls) <= 1, "each check's session is deleted with the check"


async def test_rtpengine_killed_means_critical_and_back_only_after_a_while() -> None:
    async with media_server() as (server, registry):
        server.start("rtpengine")
        server.start("agent")
        await server.until_up(registry)
        server.kill("rtpengine")
        down = await server.until(registry, lambda i: not i.passing)
        assert "refused" in down.output
        server.start("rtpengine")
        back = trio.current_time()
        await server.until_up(registry)
        assert trio.current_time() - back > 2.5, "one good check is not enough"


async def test_a_hung_rtpengine_is_critical_too() -> None:
    async with media_server() as (server, registry):
        server.start("rtpengine")
        server.start("agent")
        await server.until_up(registry)
        with hung(server.processes["rtpengine"].pid):
            down = await server.until(registry, lambda i: not i.passing)
        assert "no" in down.output
        await server.until_up(registry)


async def test_drain_is_the_administrators_switch_and_shows_calls_left() -> None:
    async with media_server() as (server, registry):
        server.start("rtpengine")
        server.start("agent")
        await server.until_up(registry)
        async with server.client() as http:
            answer = await http.post("/drain")
            assert answer.json() == {"draining": True}
        instance = await server.until(registry, lambda i: "draining" in i.output)
        assert instance.passing
        assert instance.output.endswith("draining: 0 calls left")
        entry = await registry.get(f"{prefix(CLUSTER)}switches/media1/media")
        assert entry is not None
        assert decode(entry.value, Switch).state == "draining"


async def test_health_and_metrics_need_no_token_and_drain_does() -> None:
    async with media_server() as (server, registry):
        server.start("rtpengine")
        server.start("agent")
        await server.until_up(registry)
        base = f"http://{server.settings.address}:7081"
        async with httpx.AsyncClient(base_url=base, trust_env=False) as http:
            health = (await http.get("/health")).json()
            assert health["status"] == "passing"
            metrics = (await http.get("/metrics")).text
            assert "pbx_media_up 1.0" in metrics
            assert "pbx_media_capacity 100.0" in metrics
            assert (await http.post("/drain")).status_code == 401


async def test_it_leaves_the_registry_when_it_is_stopped() -> None:
    async with media_server() as (server, registry):
        server.start("rtpengine")
        server.start("agent")
        await server.until_up(registry)
        await server.terminate("agent")
        assert server.processes["agent"].returncode == 0
        assert await registry.health("media") == ()


async def test_a_broken_disk_stops_no_call() -> None:
    async with media_server(recordings=Path("/proc/nowhere")) as (server, registry):
        server.start("rtpengine")
        server.start("agent")
        instance = await server.until_up(registry)
        assert instance.passing
        assert "none can be recorded" in server.log("rtpengine")
        instance = await server.until(registry, lambda i: "recording stopped" in i.output)
        assert instance.passing


async def test_what_stops_it_is_one_line() -> None:
    async with media_server() as (server, _):
        assert await _says(server, media_address="10.255.255.1") == (
            "pbx-media rtpengine: media_address 10.255.255.1 is not an address of this host:"
            " correct it in the spec, or add the address to an interface\n"
        )
        assert "expected a range within 1024 to 65535" in await _says(server, media_from="70000")
        server.start("rtpengine")
        async with open_ng(server.settings.address, 2223) as ng:
            await server.until_ng(ng)
        assert "control_port" in (text := await _says(server))
        assert "is in use by another process" in text
        assert "rtpengine is not installed" in await _says(
            server, control_port="2224", path="/nowhere"
        )


async def _says(server: MediaServer, *, path: str = "", **meta: str) -> str:
    changed = {f"NOMAD_META_{name.upper()}": value for name, value in meta.items()}
    environment = {**server.environment, **changed} | ({"PATH": path} if path else {})
    done = await trio.run_process(
        [sys.executable, "-m", "services.media", "rtpengine"],
        env=environment,
        capture_stderr=True,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr.decode()


@pytest.mark.parametrize("secure", [False, True], ids=["rtp", "srtp"])
async def test_keys_are_known_for_a_while_to_who_asks(secure: bool) -> None:
    async with media_server() as (server, registry):
        server.start("rtpengine")
        server.start("agent")
        await server.until_up(registry)
        s, here = server.settings, f"{server.network}.11"
        async with (
            open_ng(*s.control) as ng,
            phone(here, secure=secure) as caller,
            phone(f"{server.network}.12", secure=secure) as callee,
            server.client() as client,
        ):
            call = Call(ng, "a~b@phone")
            forger = Call(ng, f'x","callid":"{call.id}')
            for one in (forger, call):
                await one.connect(caller, callee, **(SRTP if secure else {}))
                await caller.talk(440, 0.2)
                if one is forger:
                    await caller.send(bytes([9, 0x8A, 3, 32]), payload_type=101, advance=False)
                    caller.timestamp += 1600
            for key in (4, 2, 11):
                for packet in range(1, 6):
                    released = 0x80 if packet > 3 else 0
                    event = bytes([key, released | 10, *(160 * packet).to_bytes(2, "big")])
                    await caller.send(event, payload_type=101, marker=packet == 1, advance=False)
                    await trio.sleep(0.01)
                caller.timestamp += 1600
            asked = ["a~b@phone", "another"]
            told: dict[str, list[tuple[str, float]]] = {}
            with trio.fail_after(10):
                while len(told.get(call.id, [])) < 3:
                    told = (await client.post("/v1/digits", json=asked)).json()
                    await trio.sleep(0.05)
            assert list(told) == [call.id]
            assert "".join(key for key, _ in told[call.id]) == "42#"
            assert all(0 <= age < 10 for _, age in told[call.id])
            stranger = httpx.AsyncClient(base_url=client.base_url, trust_env=False)
            async with stranger:
                assert (await stranger.post("/v1/digits", json=asked)).status_code == 401
        assert "42#" not in server.log("agent")

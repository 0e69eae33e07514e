from __future__ import annotations

from services.core.ng import open_ng
from tests.integration.media.call_manager import call_manager
from tests.integration.media.media_server import media_server
from tests.integration.media.phone import Call, both_talk, phone
from tests.support.waiting import until


async def test_every_call_manager_is_told_of_a_call_whose_media_are_gone() -> None:
    async with (
        media_server() as (server, registry),
        call_manager(registry, f"{server.network}.1", "cm1") as first,
        call_manager(registry, f"{server.network}.4", "cm2") as second,
    ):
        server.start("rtpengine", media_timeout=2)
        server.start("agent")
        await server.until_up(registry)
        async with (
            open_ng(server.settings.address, server.settings.control_port) as ng,
            phone(f"{server.network}.11") as caller,
            phone(f"{server.network}.12") as callee,
        ):
            call = Call(ng, "a/b c&d%20<é>@host")
            await call.connect(caller, callee)
            await both_talk(caller, callee, 0.3)
            await until(lambda: bool(first.ended and second.ended))
        assert first.ended == [(call.id, "media-timeout")]
        assert second.ended == [(call.id, "media-timeout")]


async def test_only_this_hosts_rtpengine_may_say_so() -> None:
    async with media_server() as (server, registry):
        server.start("rtpengine")
        server.start("agent")
        await server.until_up(registry)
        s = server.settings
        said = (
            "<?xml version='1.0'?><methodCall><methodName>teardown</methodName><params><param>"
            "<value><string>x</string></value></param></params></methodCall>"
        )
        import httpx

        url = f"http://{s.address}:{s.admin_port}/rtpengine"
        for address, body, status in (
            (f"{server.network}.9", said, 403),
            (s.address, "nonsense", 400),
            (s.address, said, 200),
        ):
            transport = httpx.AsyncHTTPTransport(local_address=address)
            async with httpx.AsyncClient(transport=transport, trust_env=False) as http:
                assert (await http.post(url, content=body)).status_code == status

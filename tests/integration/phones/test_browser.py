"""A browser's WebRTC call and a desk phone's plain RTP, through the PBX, both ways."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from tests.support.browser import Browser, browser
from tests.support.pbx import DOMAIN, Pbx, password
from tests.support.phones import PhoneCall, hear_each_other


@asynccontextmanager
async def registered(office: Pbx, extension: str, voice: int) -> AsyncGenerator[Browser]:
    async with browser(voice=voice) as page:
        url = f"wss://{office.address}:8443"
        status = await page.register(url, extension, DOMAIN, password(extension))
        assert status == 200, await page.describe(office.logs())
        yield page


async def both_hear(page: Browser, its_voice: int, call: PhoneCall, phone_voice: int) -> None:
    async with trio.open_nursery() as nursery:

        async def listen() -> None:
            heard = await page.hears(phone_voice)
            assert heard.coverage > 0.95, await page.describe(str(heard))
            assert heard.likeness > 0.8, await page.describe(str(heard))

        nursery.start_soon(listen)
        await hear_each_other((call, its_voice))


async def test_a_browser_calls_a_desk_phone(office: Pbx) -> None:
    async with (
        registered(office, "2001", voice=0) as page,
        office.phone("2002", voice=1) as ben,
        trio.open_nursery() as nursery,
    ):
        statuses: list[int] = []

        async def dial() -> None:
            statuses.append(await page.dial("2002"))

        nursery.start_soon(dial)
        far = await ben.called()
        await far.ring()
        await far.answer()
        await page.until("connection", "connected")
        assert statuses == [200]
        await both_hear(page, 0, far, 1)
        assert not (await far.statistics()).encrypted
        assert await page.hang_up() == 200
        await far.ended()


async def test_a_desk_phone_calls_a_browser(office: Pbx) -> None:
    async with (
        office.phone("2002", voice=1) as ben,
        registered(office, "2001", voice=0) as page,
    ):
        near = await ben.dial("2001")
        await page.accept()
        await near.until("confirmed")
        await page.until("connection", "connected")
        await both_hear(page, 0, near, 1)
        await near.hang_up()
        await page.until("ended", "by the far end")

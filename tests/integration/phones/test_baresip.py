"""Another make of phone: baresip 1.0, whose digest knows MD5 and gives up where else is offered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from pbxctl.probe.protocol import Transport
from tests.support.baresip import baresip
from tests.support.pbx import DOMAIN, Pbx, Spec, password, pbx
from tests.support.phones import hear_each_other


def md5_only(spec: Spec) -> None:
    spec["security"] = {"digest": ["MD5"]}


@pytest.fixture(scope="module")
def office() -> Iterator[Pbx]:
    with pbx(media=1, edit=md5_only) as running:
        yield running


@pytest.mark.parametrize(
    ("transport", "codecs"), [("udp", "PCMA"), ("tls", "G722/16000"), ("tcp", "opus/48000/2")]
)
async def test_the_two_makes_hear_each_other(
    office: Pbx, transport: Transport, codecs: str
) -> None:
    port = 5061 if transport == "tls" else 5060
    async with (
        office.phone("2001", voice=0) as anna,
        baresip(
            "2002",
            DOMAIN,
            password("2002"),
            f"{office.address}:{port}",
            address=office.host(),
            voice=1,
            transport=transport,
            codecs=codecs,
        ) as ben,
    ):
        near = await anna.dial("2002")
        await ben.answer()
        await near.until("confirmed")
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                heard = await ben.hears(0)
                assert heard.coverage > 0.95, ben.describe(str(heard))
                assert heard.likeness > 0.8, ben.describe(str(heard))

            nursery.start_soon(listen)
            await hear_each_other((near, 1))
        await ben.hang_up()
        await near.ended()

"""Two phones talk through the whole PBX, over every transport, and hear each other."""

from __future__ import annotations

import pytest

from pbxctl.probe.protocol import Message, Received, Transport
from tests.support.pbx import Pbx
from tests.support.phones import hear_each_other, talk


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_two_phones_hear_each_other(office: Pbx, transport: Transport) -> None:
    async with (
        office.phone("2001", voice=0, transport=transport) as anna,
        office.phone("2002", voice=1, transport=transport) as ben,
    ):
        near, far = await talk(anna, ben)
        await hear_each_other((near, 1), (far, 0))
        calls = await office.admin("/v1/calls")
        assert len(calls["calls"] if isinstance(calls, dict) else calls) == 1
        await near.hang_up()
        assert (await far.ended()).code == 200


async def test_phones_of_different_transports_hear_each_other(office: Pbx) -> None:
    async with (
        office.phone("2001", voice=0, transport="tls") as anna,
        office.phone("2002", voice=1, transport="udp") as ben,
    ):
        near, far = await talk(anna, ben)
        await hear_each_other((near, 1), (far, 0))
        await far.hang_up()
        await near.ended()


@pytest.mark.parametrize("codec", ["PCMU/8000", "PCMA/8000", "G722/16000"])
async def test_the_codec_that_both_have_is_used(office: Pbx, codec: str) -> None:
    async with (
        office.phone("2001", voice=0, codecs=(codec,)) as anna,
        office.phone("2002", voice=1, codecs=(codec,)) as ben,
    ):
        near, far = await talk(anna, ben)
        await hear_each_other((near, 1), (far, 0))
        streams = [await near.statistics(), await far.statistics()]
        assert [f"{stream.codec}/{stream.rate}" for stream in streams] == [codec, codec]
        await near.hang_up()


async def test_phones_without_a_common_codec_are_transcoded(office: Pbx) -> None:
    async with (
        office.phone("2001", voice=0, codecs=("G722/16000",)) as anna,
        office.phone("2002", voice=1, codecs=("PCMA/8000",)) as ben,
    ):
        near, far = await talk(anna, ben)
        await hear_each_other((near, 1), (far, 0))
        assert (await near.statistics()).codec == "G722"
        assert (await far.statistics()).codec == "PCMA"
        await near.hang_up()


async def test_srtp_both_ways(office: Pbx) -> None:
    async with (
        office.phone("2001", voice=0, transport="tls", encryption="mandatory") as anna,
        office.phone("2002", voice=1, transport="tls", encryption="mandatory") as ben,
    ):
        near, far = await talk(anna, ben)
        await hear_each_other((near, 1), (far, 0))
        assert (await near.statistics()).encrypted
        assert (await far.statistics()).encrypted
        await near.hang_up()


async def test_srtp_on_one_side_only(office: Pbx) -> None:
    async with (
        office.phone("2001", voice=0, transport="tls", encryption="mandatory") as anna,
        office.phone("2002", voice=1) as ben,
    ):
        near, far = await talk(anna, ben)
        await hear_each_other((near, 1), (far, 0))
        assert (await near.statistics()).encrypted
        assert not (await far.statistics()).encrypted
        await near.hang_up()


async def test_a_call_without_an_offer(office: Pbx) -> None:
    async with office.phone("2001", voice=0) as anna, office.phone("2002", voice=1) as ben:
        near = await anna.dial("2002", late_offer=True)
        far = await ben.called()
        await far.answer()
        await near.until("confirmed")
        await hear_each_other((near, 1), (far, 0))
        await near.hang_up()


async def test_a_message_arrives(office: Pbx) -> None:
    async with office.phone("2001") as anna, office.phone("2002") as ben:
        await anna.do(Message(to=anna.uri("2002"), text="are you there?"))
        received = await ben.wait(Received)
        assert received.text == "are you there?"
        assert "2001" in received.far

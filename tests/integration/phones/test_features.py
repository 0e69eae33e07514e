"""What users do with calls: hold, transfer, forward, ring groups, busy, refuse, cancel."""

from __future__ import annotations

import trio

from tests.support.pbx import Pbx
from tests.support.phones import Phone, PhoneCall, hear_each_other, talk


async def answered(phone: Phone) -> PhoneCall:
    """The next call, rung and taken."""
    call = await phone.called()
    await call.ring()
    await call.answer()
    return call


async def test_hold_is_silence_and_resume_is_talk(office: Pbx) -> None:
    async with office.phone("2001", voice=0) as anna, office.phone("2002", voice=1) as ben:
        near, far = await talk(anna, ben)
        await hear_each_other((near, 1), (far, 0))
        await far.hold()
        await near.media("held-by-far-end")
        assert (await near.hears(1, seconds=1)).coverage == 0
        await far.resume()
        await hear_each_other((near, 1), (far, 0))
        await near.hang_up()


async def test_blind_transfer(office: Pbx) -> None:
    async with (
        office.phone("2001", voice=0) as anna,
        office.phone("2002", voice=1) as ben,
        office.phone("2003", voice=2) as carla,
    ):
        near, far = await talk(anna, ben)
        taken: list[PhoneCall] = []
        async with trio.open_nursery() as nursery:

            async def take() -> None:
                taken.append(await answered(carla))

            nursery.start_soon(take)
            assert (await far.transfer("2003")).code == 200
        after = await near.replaced()
        await hear_each_other((after, 2), (taken[0], 0))
        await taken[0].hang_up()
        await after.ended()


async def test_attended_transfer(office: Pbx) -> None:
    async with (
        office.phone("2001", voice=0) as anna,
        office.phone("2002", voice=1) as ben,
        office.phone("2003", voice=2) as carla,
    ):
        near, far = await talk(anna, ben)
        await far.hold()
        asked, carla_call = await talk(ben, carla)
        await hear_each_other((asked, 2), (carla_call, 1), seconds=1)
        assert (await far.transfer(asked)).code == 200
        after, carla_after = await near.replaced(), await carla_call.replaced()
        await hear_each_other((after, 2), (carla_after, 0))
        await after.hang_up()
        await carla_after.ended()


async def test_forward_always(office: Pbx) -> None:
    async with office.phone("2001", voice=0) as anna, office.phone("2002", voice=1) as ben:
        near, far = await talk(anna, ben, to="2005")
        await hear_each_other((near, 1), (far, 0), seconds=1)
        await near.hang_up()


async def test_forward_when_busy(office: Pbx) -> None:
    async with (
        office.phone("2001", voice=0) as anna,
        office.phone("2002", voice=1) as ben,
        office.phone("2006", voice=2) as carla,
    ):
        near = await anna.dial("2006")
        await (await carla.called()).refuse(486)
        far = await answered(ben)
        await near.until("confirmed")
        await hear_each_other((near, 1), (far, 0), seconds=1)
        await near.hang_up()


async def test_forward_when_nobody_answers(office: Pbx) -> None:
    async with (
        office.phone("2001", voice=0) as anna,
        office.phone("2002", voice=1) as ben,
        office.phone("2007", voice=2) as carla,
    ):
        near = await anna.dial("2007")
        ringing = await carla.called()
        await ringing.ring()
        far = await answered(ben)
        await ringing.ended()
        await near.until("confirmed")
        await hear_each_other((near, 1), (far, 0), seconds=1)
        await near.hang_up()


async def test_forward_when_not_registered(office: Pbx) -> None:
    async with office.phone("2001", voice=0) as anna, office.phone("2002", voice=1) as ben:
        near, far = await talk(anna, ben, to="2008")
        await hear_each_other((near, 1), (far, 0), seconds=1)
        await near.hang_up()


async def test_a_ring_group_rings_all_and_the_first_to_answer_has_it(office: Pbx) -> None:
    async with (
        office.phone("2001", voice=0) as anna,
        office.phone("2003", voice=1) as carla,
        office.phone("2004", voice=2) as dora,
    ):
        near = await anna.dial("03012345670")
        first, second = await carla.called(), await dora.called()
        await first.ring()
        await second.ring()
        await second.answer()
        await first.ended()
        await near.until("confirmed")
        await hear_each_other((near, 2), (second, 0))
        await near.hang_up()


async def test_a_caller_who_gives_up_stops_the_ringing(office: Pbx) -> None:
    async with office.phone("2001") as anna, office.phone("2002") as ben:
        near = await anna.dial("2002")
        far = await ben.called()
        await far.ring()
        await near.until("early")
        await near.hang_up()
        assert (await far.ended()).code == 487


async def test_busy_is_told(office: Pbx) -> None:
    async with office.phone("2001") as anna, office.phone("2002") as ben:
        near = await anna.dial("2002")
        await (await ben.called()).refuse(486)
        assert (await near.ended(within=20)).code == 486


async def test_an_unknown_number_is_announced(office: Pbx) -> None:
    async with office.phone("2001", voice=0) as anna:
        near = await anna.dial("7777")
        ended = await near.ended(within=40)
        assert ended.code == 404
        from pbxctl.probe.audio import loudness

        heard = near.samples()
        # Speech, as early media: well over a second of it is loud.
        loud = [loudness(heard[at : at + 1600]) > -40 for at in range(0, len(heard), 1600)]
        assert sum(loud) > 10, anna.describe(f"{sum(loud)} tenths of a second were heard")


async def test_dtmf_arrives(office: Pbx) -> None:
    from pbxctl.probe.protocol import Digit

    async with office.phone("2001", voice=0) as anna, office.phone("2002", voice=1) as ben:
        near, _ = await talk(anna, ben)
        await near.dial_tones("147#")
        for digit in "147#":
            await ben.wait(Digit, lambda event, digit=digit: event.digit == digit)
        await near.hang_up()

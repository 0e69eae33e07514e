"""Callers at menus: what they hear, where their keys take them, what is told of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from pbxctl.probe.audio import loudness
from tests.integration.ivr.conftest import MAIN, VOICE, WEB
from tests.integration.ivr.web_service import web_service
from tests.support.pbx import Pbx
from tests.support.phones import Phone, PhoneCall, hear_each_other


async def hears(call: PhoneCall, prompt: str, *, settle: float = 1.2) -> None:
    """The caller hears a prompt well."""
    found = await call.hears(VOICE[prompt], seconds=1.5, settle=settle)
    assert found.likeness > 0.8, call.phone.describe(f"does not hear {prompt}: {found}")
    assert found.coverage > 0.9


@asynccontextmanager
async def at_the_menu(office: Pbx, extension: str = "2001") -> AsyncGenerator[PhoneCall]:
    """A caller who has called the menu and hears it; hung up at the end."""
    async with office.phone(extension, voice=0) as caller:
        call = await caller.dial(MAIN)
        await call.until("confirmed")
        await hears(call, "main")
        try:
            yield call
        finally:
            await call.hang_up()


async def answered(office: Pbx, call: PhoneCall, phone: Phone) -> None:
    """The phone rings, answers, and both hear each other."""
    far = await phone.called()
    await far.ring()
    await far.answer()
    await hear_each_other((call, 1), (far, 0))
    await far.hang_up()
    await call.ended()


async def record(office: Pbx, call_id: str) -> Any:
    """The record of a call that has ended."""
    with trio.fail_after(15):
        while True:
            for found in await office.admin("/v1/events", params={"call": call_id}):
                return found
            await trio.sleep(0.2)
    raise AssertionError(f"no record of {call_id}")


async def test_a_key_connects_the_caller(office: Pbx) -> None:
    async with office.phone("2002", voice=1) as callee, at_the_menu(office) as call:
        up = await office.admin("/v1/calls")
        own = next(each for each in up if not each["within"])
        assert own["app"] in ("ivr/app1", "ivr/app2")
        assert own["way"] == ["main"]
        await call.dial_tones("1")
        far = await callee.called()
        await far.ring()
        await trio.sleep(0.5)
        assert loudness(call.samples()[-8000:]) > -40, "no ringback is heard"
        await far.answer()
        await hear_each_other((call, 1), (far, 0))
        up = await office.admin("/v1/calls")
        assert sorted(bool(each["within"]) for each in up) == [False, True]
        shown = await office.json("calls")
        assert len(shown["calls"] if isinstance(shown, dict) else shown) == 1
        await call.hold()
        await call.resume()
        await hear_each_other((call, 1), (far, 0))
        await call.hang_up()
        assert (await far.ended()).code == 200
        told = await record(office, own["id"])
        assert told["way"] == ["main", "extension 2002 answered"]
        assert (told["caller"], told["callee"], told["ended_by"]) == ("2001", "main", "caller")


async def test_an_extension_is_dialled_at_once(office: Pbx) -> None:
    async with office.phone("2002", voice=1) as callee, at_the_menu(office) as call:
        await call.dial_tones("2002#")
        await answered(office, call, callee)


async def test_a_ring_group(office: Pbx) -> None:
    async with office.phone("2004", voice=1) as callee, at_the_menu(office) as call:
        await call.dial_tones("4")
        await answered(office, call, callee)


async def test_a_name_is_spelled(office: Pbx) -> None:
    async with office.phone("2002", voice=1) as callee, at_the_menu(office) as call:
        await call.dial_tones("5")
        await trio.sleep(1.0)
        await call.dial_tones("2662#")
        await answered(office, call, callee)


@pytest.mark.parametrize("key", ["8", "9"])
async def test_a_web_service_that_knows_who_asks(office: Pbx, key: str) -> None:
    with web_service(f"{office.network}.{WEB}"):
        async with at_the_menu(office) as call:
            await call.dial_tones(key)
            await hears(call, "orders")


async def test_another_menu_and_back(office: Pbx) -> None:
    async with at_the_menu(office) as call:
        await call.dial_tones("3")
        await hears(call, "orders")
        await call.dial_tones("0")
        await hears(call, "main")


async def test_a_number_is_said(office: Pbx) -> None:
    async with at_the_menu(office) as call:
        await call.dial_tones("6")
        await trio.sleep(1.5)
        heard = call.samples()[-16000:]
        assert loudness(heard) > -45, "nothing is said"


async def test_a_wrong_key_and_then_silence(office: Pbx) -> None:
    async with at_the_menu(office) as call:
        await call.dial_tones("*")
        await hears(call, "wrong", settle=1.0)
        await call.ended(within=30)


async def test_nobody_answers(office: Pbx) -> None:
    async with office.phone("2002", voice=1) as callee, at_the_menu(office) as call:
        await call.dial_tones("1")
        far = await callee.called()
        await far.ring()
        await far.ended()
        await hears(call, "closed", settle=2.5)
        await call.ended(within=30)


async def test_what_a_phone_says_of_itself_is_not_believed(office: Pbx) -> None:
    async with office.phone("2001", voice=0) as caller:
        call = await caller.dial("2009", headers={"X-PBX-Call": "e30=.00"})
        assert (await call.ended()).code != 200
        # Past the Call Manager nobody gets in.
        call = await caller.dial(f"sip:main@{office.network}.31:5070")
        assert (await call.ended()).code >= 400


async def test_callers_are_spread_over_the_servers(office: Pbx) -> None:
    async with at_the_menu(office, "2001"), at_the_menu(office, "2005"):
        up = await office.admin("/v1/calls")
        assert sorted(each["app"] for each in up) == ["ivr/app1", "ivr/app2"]
        status = await office.json("status")
        loads = {row["server"]: row["load"] for row in status["servers"] if row["role"] == "ivr"}
        assert loads == {"app1": 1, "app2": 1}

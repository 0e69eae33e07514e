"""A user records a prompt by phone: callers hear it, after another apply too, until it is reset."""

from __future__ import annotations

import trio

from tests.integration.ivr.conftest import NAMED, STUDIO, VOICE
from tests.support.pbx import Pbx
from tests.support.phones import PhoneCall

PIN = "2580"
SPOKEN = 0
"""The voice that is recorded: not the one of the spec's file."""
BOX = "/v1/tenants/acme/voicemail/2001"


async def press(call: PhoneCall, *keys: str) -> None:
    """One after the other, each answered before the next."""
    for each in keys:
        await call.dial_tones(each)
        await trio.sleep(1.0 + 0.3 * len(each))


async def callers_hear(office: Pbx, voice: int) -> None:
    """A new caller hears the menu in a voice, on either server; within seconds."""
    async with office.phone("2002", voice=1) as caller:
        with trio.fail_after(30):
            while True:
                call = await caller.dial(NAMED)
                await call.until("confirmed")
                found = await call.hears(voice, seconds=1.5, settle=1.2)
                await call.hang_up()
                if found.likeness > 0.8:
                    return


async def test_a_prompt_is_recorded_heard_and_reset(office: Pbx) -> None:
    await callers_hear(office, VOICE["main"])
    await office.admin(f"{BOX}/pin", method="PUT", json={"pin": PIN})
    async with office.phone("2001", voice=SPOKEN) as user:
        call = await user.dial(STUDIO)
        await call.until("confirmed")
        await trio.sleep(1.0)
        # PIN, number of the prompt, record it, the instruction is skipped, then the tone.
        await press(call, f"{PIN}#", "1#", "1", "#")
        await trio.sleep(6)
        await press(call, "#", "1")
        (listed,) = await office.json("prompts", "list")
        assert (listed["name"], listed["number"], listed["by"]) == ("welcome", "1", "2001")
        assert listed["digest"]
        await call.hang_up()
    await callers_hear(office, SPOKEN)
    await office.apply()
    await callers_hear(office, SPOKEN)
    await office.run("prompts", "reset", "welcome")
    await callers_hear(office, VOICE["main"])
    assert not (await office.json("prompts", "list"))[0]["digest"]
    await office.run("users", "pin", "2001", "--reset")
    assert not (await office.admin(BOX))["has_pin"]


async def test_only_those_who_may_get_in(office: Pbx) -> None:
    async with office.phone("2002", voice=1) as other:
        call = await other.dial(STUDIO)
        assert (await call.ended()).code == 403
    done = await office.run("prompts", "reset", "nothing", succeed=False)
    assert done.returncode == 1
    assert "there is welcome" in done.stdout + done.stderr

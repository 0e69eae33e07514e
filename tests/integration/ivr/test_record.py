"""What a menu records: how it ends, where it is kept, and that it is what was said."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
import trio

from pbxctl.probe import audio
from tests.integration.ivr.conftest import TO_BOX, TO_STORE
from tests.integration.ivr.test_menus import hears
from tests.integration.ivr.test_voicemail import samples
from tests.support.pbx import Pbx
from tests.support.phones import RATE, PhoneCall

VOICE = 2
SPOKEN = 5.0
"""Seconds that a caller speaks from the start of the call on, where silence is to end it."""
LEAD = 2.5
"""Seconds from the start of the call until the tone is over, at least."""


async def fetch(office: Pbx, path: str) -> bytes:
    """What the admin API has there."""
    headers = {"Authorization": f"Bearer {office.token()}"}
    url = f"http://{office.address}:7080"
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
        answer = await http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.content


async def kept(office: Pbx, before: set[str]) -> dict[str, Any]:
    """The newest entry of the index of recordings."""
    with trio.fail_after(20):
        while True:
            for entry in await office.admin("/v1/recordings", params={"tenant": "acme"}):
                if entry["id"] not in before:
                    return entry
            await trio.sleep(0.2)
    raise AssertionError("nothing was kept")


@asynccontextmanager
async def speaking(office: Pbx, to: str, *, silent_after: float = 0.0) -> AsyncGenerator[PhoneCall]:
    """A caller who speaks all the time, or falls silent."""
    async with office.phone("2001", voice=VOICE) as caller:
        if silent_after:
            voice = audio.speak(VOICE, RATE, seconds=silent_after)
            silence = np.zeros(int(30 * RATE), np.float32)
            audio.write_wav(caller.speech, np.concatenate([voice, silence]), RATE)
        call = await caller.dial(to)
        await call.until("confirmed")
        yield call


@pytest.mark.parametrize("how", ["key", "silence", "limit", "hang-up"])
async def test_what_a_caller_says_is_kept(office: Pbx, how: str) -> None:
    known = {e["id"] for e in await office.admin("/v1/recordings", params={"tenant": "acme"})}
    silent = SPOKEN + LEAD if how == "silence" else 0.0
    async with speaking(office, TO_STORE, silent_after=silent) as call:
        if how in ("key", "hang-up"):
            await trio.sleep(LEAD + SPOKEN)
        if how == "hang-up":
            await call.hang_up()
        elif how == "key":
            await call.dial_tones("#")
        entry = await kept(office, known)
        if how != "hang-up":
            await hears(call, "orders", settle=2.0)
            await call.hang_up()
    assert (entry["caller"], entry["callee"]) == ("2001", f"record-{TO_STORE}")
    assert entry["duration"] > (7.5 if how == "limit" else 3.0)
    sound = await fetch(office, entry["path"])
    found = audio.judge(wav(sound), 8000, VOICE)
    assert found.likeness > 0.8, found
    assert found.longest_gap < (4000 if how == "silence" else 200), found


async def test_what_a_menu_records_for_a_user_is_in_his_box(office: Pbx) -> None:
    box = "/v1/tenants/acme/voicemail/2003/messages"
    async with speaking(office, TO_BOX) as call:
        await trio.sleep(LEAD + SPOKEN)
        await call.dial_tones("#")
        await hears(call, "orders", settle=2.0)
        await call.hang_up()
    (message,) = await office.admin(box)
    assert message["caller"] == "2001"
    sound = await fetch(office, f"{box}/{message['id']}/sound")
    assert audio.judge(samples(sound, 16000), 16000, VOICE).likeness > 0.8


def wav(data: bytes) -> audio.Samples:
    """The sound of a file of 16-bit mono."""
    assert data[:4] == b"RIFF"
    return np.frombuffer(data[44:], "<i2").astype(np.float32) / np.float32(32768)

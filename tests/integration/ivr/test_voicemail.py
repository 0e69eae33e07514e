"""A message is left by phone and heard by phone."""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
import httpx
import numpy as np
import pytest
import trio

from pbxctl.probe import audio
from pbxctl.probe.audio import loudness
from tests.integration.ivr.conftest import ivr_server
from tests.support.pbx import Pbx, Spec, pbx, user
from tests.support.waiting import eventually

OWN = "990"
SPOKEN = 5.0
"""Seconds of a message."""


def boxes(spec: Spec) -> None:
    """One IVR server; who does not reach 2002 comes to the box of 2002."""
    network = spec["network"]["vip"].rpartition(".")[0]
    spec["servers"].append(ivr_server(network, 1))
    spec["tenants"][0]["voicemail"] = {"extension": OWN}
    user(spec, "2002")["forward"] = {"not_registered": {"voicemail": "2002"}}


@pytest.fixture(scope="module")
def office() -> Iterator[Pbx]:
    with pbx(edit=boxes) as running:
        yield running


def samples(data: bytes, rate: int) -> audio.Samples:
    """Of an MP3."""
    with av.open(io.BytesIO(data), "r") as file:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
        parts = [
            part.to_ndarray().ravel()
            for frame in file.decode(audio=0)
            for part in resampler.resample(frame)
        ]
    return (np.concatenate(parts) / 32768).astype(np.float32)


async def test_a_message_is_left_and_heard(office: Pbx) -> None:
    path = "/v1/tenants/acme/voicemail/2002"

    async def messages() -> list[dict[str, object]]:
        return await office.admin(f"{path}/messages")

    async with office.phone("2001", voice=1) as caller:
        call = await caller.dial("2002")
        await call.until("confirmed")
        await trio.sleep(2)
        await call.dial_tones("#")  # the greeting is long enough
        await trio.sleep(SPOKEN)
        await call.hang_up()

    async def left() -> bool:
        return bool(await messages())

    await eventually(left)
    (message,) = await messages()
    assert message["caller"] == "2001"
    assert message["state"] == "new"
    headers = {"Authorization": f"Bearer {office.token()}"}
    url = f"http://{office.address}:7080{path}/messages/{message['id']}/sound"
    async with httpx.AsyncClient(headers=headers, trust_env=False) as http:
        found = (await http.get(url)).content
    assert audio.judge(samples(found, 16000), 16000, 1).likeness > 0.8

    async with office.phone("2002", voice=0) as owner:
        call = await owner.dial(OWN)
        await call.until("confirmed")
        await trio.sleep(2)
        await call.dial_tones("1")

        async def heard() -> bool:
            return (await messages())[0]["state"] == "saved"

        # Envelope, message, and what can be done with it, all of it to its end.
        await eventually(heard, within=60)
        assert loudness(call.samples()[-16000 * 20 :]) > -40
        await call.dial_tones("7")

        async def gone() -> bool:
            return not await messages()

        await eventually(gone)
        await call.hang_up()

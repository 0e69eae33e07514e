"""Voicemail boxes by the admin API, and the mails about messages."""

from __future__ import annotations

import io
import time
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path

import av
import numpy as np

from services.core.configuration import Alerts, Cluster, SecretRef, Tenant, Voicemail
from tests.integration.agent.lab import CLUSTER, DOMAIN, TENANT, Lab, plain, user
from tests.support.smtp_server import PASSWORD, USERNAME, mail_server

ANNA = "anna@acme.example"
NOW = round(time.time())
BOX = f"/v1/tenants/{TENANT}/voicemail/2001"


def tone(seconds: float) -> bytes:
    """A WAV of a tone."""
    rate = 8000
    at = np.arange(int(rate * seconds)) / rate
    sound = (np.sin(2 * np.pi * 440 * at) * 8000).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(sound.tobytes())
    return out.getvalue()


def pitch(data: bytes) -> tuple[float, float]:
    """Of a sound: how many seconds it has, and its loudest frequency in Hz."""
    with av.open(io.BytesIO(data), "r") as file:
        rate = file.streams.audio[0].rate
        frames = [frame.to_ndarray().ravel() for frame in file.decode(audio=0)]
    samples = np.concatenate(frames).astype(float)
    spectrum = np.abs(np.fft.rfft(samples))
    return len(samples) / rate, float(np.argmax(spectrum) * rate / len(samples))


async def leave(agent: Lab, message: str, seconds: float, **query: str | float) -> None:
    given = {"left_at": NOW, "caller": "+4930999"} | query
    url = f"{BOX}/messages/{message}"
    answer = await agent.http.put(url, params=given, content=tone(seconds))
    assert answer.status_code == 204, answer.text


async def test_a_box(agent: Lab) -> None:
    await agent.put_users(user("2001", name="Anna"), user("2002"))
    assert (await agent.get(BOX))["new"] == 0
    missing = await agent.http.get(f"/v1/tenants/{TENANT}/voicemail/2999")
    assert missing.status_code == 404
    assert missing.json()["error"] == f"{TENANT} has no user 2999"

    await leave(agent, "m2", 3.0, left_at=NOW + 2, name="Ben")
    await leave(agent, "m1", 2.0)
    await leave(agent, "m1", 2.0)
    found = await agent.get(f"{BOX}/messages")
    assert [(one["id"], one["seconds"], one["name"]) for one in found] == [
        ("m1", 2.0, ""),
        ("m2", 3.0, "Ben"),
    ]
    sound = (await agent.http.get(f"{BOX}/messages/m2/sound")).content
    seconds, hertz = pitch(sound)
    assert abs(seconds - 3.0) < 0.2
    assert abs(hertz - 440) < 5
    assert len(sound) < 3.5 * 4000
    other = f"/v1/tenants/{TENANT}/voicemail/2002/messages/m2"
    assert (await agent.http.get(f"{other}/sound")).status_code == 404
    assert (await agent.http.delete(other)).status_code == 404

    answer = await agent.http.patch(f"{BOX}/messages/m1", json={"state": "saved"})
    assert answer.status_code == 204
    box = await agent.get(BOX)
    assert (box["new"], box["saved"], box["full"], box["name"]) == (1, 1, False, "Anna")
    assert (await agent.http.delete(f"{BOX}/messages/m2")).status_code == 204
    # Sent once more by a server that had no answer: it stays deleted.
    await leave(agent, "m2", 3.0)
    assert [one["id"] for one in await agent.get(f"{BOX}/messages")] == ["m1"]


async def test_what_is_no_sound_is_refused(agent: Lab) -> None:
    await agent.put_users(user("2001"))
    for body in (b"", b"RIFF", b"\x00" * 5000, tone(0.0), tone(2.0)[:30]):
        answer = await agent.http.put(f"{BOX}/messages/m1?left_at=1", content=body)
        assert answer.status_code == 422, (body[:10], answer.text)
        assert answer.json()["error"].startswith("the sound: ")
    assert await agent.get(f"{BOX}/messages") == []
    wrong = await agent.http.put(f"{BOX}/messages/..%2Fm1?left_at=1", content=tone(1))
    assert wrong.status_code in (404, 422)


async def test_pin_and_greeting(agent: Lab) -> None:
    await agent.put_users(user("2001"))

    async def unlock(pin: str) -> str:
        return (await agent.http.post(f"{BOX}/unlock", json={"pin": pin})).json()["result"]

    assert await unlock("4711") == "no pin"
    for pin, status in (("123", 422), ("1234", 409), ("7777", 409), ("9876", 409), ("4711", 204)):
        answer = await agent.http.put(f"{BOX}/pin", json={"pin": pin})
        assert answer.status_code == status, pin
    assert await unlock("4711") == "open"
    assert [await unlock("0815") for _ in range(5)] == ["wrong"] * 4 + ["locked"]
    assert await unlock("4711") == "locked"
    assert (await agent.get(BOX))["locked_until"] > 0
    assert (await agent.http.delete(f"{BOX}/pin")).status_code == 204
    assert await unlock("4711") == "no pin"

    assert (await agent.http.get(f"{BOX}/greeting")).status_code == 404
    assert (await agent.http.put(f"{BOX}/greeting", content=tone(1.5))).status_code == 204
    assert abs(pitch((await agent.http.get(f"{BOX}/greeting")).content)[1] - 440) < 5
    assert (await agent.get(BOX))["has_greeting"]
    assert (await agent.http.delete(f"{BOX}/greeting")).status_code == 204
    assert not (await agent.get(BOX))["has_greeting"]


async def test_a_message_is_mailed_once(agent: Lab, tmp_path: Path) -> None:
    async with mail_server(tmp_path / "mail", f"{agent.network}.5") as mail:
        secret = "alerts.smtp.password"
        await agent.http.put(f"/v1/secrets/{secret}", json={"value": PASSWORD})
        alerts = Alerts(
            sender="pbx@acme.example",
            smtp_host=mail.address,
            smtp_port=mail.port,
            smtp_username=USERNAME,
            smtp_password=SecretRef(secret=secret),
            smtp_ca=mail.ca,
        )
        rules = Voicemail(messages=2)
        manifest = await agent.apply(
            plain()
            | {
                "cluster": Cluster(name=CLUSTER, alerts=alerts),
                f"tenants/{TENANT}": Tenant(name=TENANT, domains=(DOMAIN,), voicemail=rules),
            }
        )

        async def in_force() -> bool:
            return (await agent.get("/v1/configuration"))["manifest"] == manifest

        await agent.until(in_force, "the configuration is in force")
        await agent.put_users(user("2001", email=ANNA), user("2002"))
        mail.refuse("451 4.3.0 come again")
        await leave(agent, "m1", 2.0, name="Ben\r\nBcc: x@acme.example")
        await agent.until(_said(agent, "is tried again"), "the mail was refused")
        assert not (await agent.get(BOX))["full"]
        mail.refuse("")
        (one,) = await mail.wait_for(1, 60)
        assert one["To"] == ANNA
        assert one["Bcc"] is None
        assert one["Subject"].endswith("<+4930999> (0:02)")
        assert one["Message-ID"] == "<m1@acme.example>"
        (attached,) = one.iter_attachments()
        assert attached.get_content_type() == "audio/mpeg"
        assert abs(pitch(attached.get_content())[1] - 440) < 5
        # Nobody to mail, and a message that was there already.
        other = f"/v1/tenants/{TENANT}/voicemail/2002/messages/m3?left_at={NOW}"
        assert (await agent.http.put(other, content=tone(1))).status_code == 204
        await leave(agent, "m1", 2.0)
        await leave(agent, "m2", 1.0)
        assert (await agent.get(BOX))["full"]
        assert len(await mail.wait_for(2, 60)) == 2
        assert [to for (to,) in mail.recipients] == [ANNA, ANNA]


def _said(agent: Lab, words: str) -> Callable[[], Awaitable[bool]]:
    async def so() -> bool:
        return words in agent.log("agent")

    return so

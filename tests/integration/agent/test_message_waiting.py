"""A phone is told of its messages by NOTIFY."""

from __future__ import annotations

import time

import trio

from tests.integration.agent.lab import DOMAIN, TENANT, Lab, plain, user
from tests.integration.agent.phones import Make, registered
from tests.integration.agent.test_voicemail import tone
from tests.integration.calls.party import Message, Party

BOX = f"/v1/tenants/{TENANT}/voicemail/2001"


async def told(phone: Party) -> Message:
    notify = await trio.to_thread.run_sync(phone.expect, "NOTIFY")
    phone.reply(notify, 200)
    return notify


async def test_lamps_go_on_and_off(manager: Lab, party: Make) -> None:
    await manager.put_users(user("2001"), user("2002"))
    manifest = await manager.apply(plain())

    async def in_force() -> bool:
        return (await manager.get("/v1/configuration"))["manifest"] == manifest

    await manager.until(in_force, "the configuration is in force")
    phones = [party("2001", 101), party("2001", 102, "tls"), party("2002", 103)]
    await registered(*phones)
    query = {"left_at": time.time()}
    answer = await manager.http.put(f"{BOX}/messages/m1", params=query, content=tone(1.5))
    assert answer.status_code == 204
    for phone in phones[:2]:
        notify = await told(phone)
        assert notify.get("Event") == "message-summary"
        assert notify.get("Content-Type") == "application/simple-message-summary"
        assert notify.body.split("\r\n") == [
            "Messages-Waiting: yes",
            f"Message-Account: sip:2001@{DOMAIN}",
            "Voice-Message: 1/0 (0/0)",
            "",
        ]
    await manager.http.patch(f"{BOX}/messages/m1", json={"state": "saved"})
    for phone in phones[:2]:
        assert "Messages-Waiting: no" in (await told(phone)).body
    await manager.http.delete(f"{BOX}/messages/m1")
    for phone in phones[:2]:
        assert "Voice-Message: 0/0" in (await told(phone)).body

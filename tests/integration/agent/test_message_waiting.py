"""A phone is told of its messages by NOTIFY."""

from __future__ import annotations

import time

import pytest
import trio

from tests.integration.agent.lab import DOMAIN, TENANT, Lab, plain, user
from tests.integration.agent.phones import Make, registered
from tests.integration.agent.subscriber import Subscriber
from tests.integration.agent.test_voicemail import tone
from tests.integration.calls.party import Message, Party

BOX = f"/v1/tenants/{TENANT}/voicemail/2001"


async def told(phone: Party) -> Message:
    notify = await trio.to_thread.run_sync(phone.expect, "NOTIFY")
    phone.reply(notify, 200)
    assert notify.get("From").count(";tag=") == 1, notify.text
    return notify


async def in_force(manager: Lab) -> None:
    await manager.put_users(user("2001"), user("2002"))
    manifest = await manager.apply(plain())

    async def is_in_force() -> bool:
        return (await manager.get("/v1/configuration"))["manifest"] == manifest

    await manager.until(is_in_force, "the configuration is in force")


async def leave(manager: Lab, message: str) -> None:
    """A new message in 2001's box."""
    query = {"left_at": time.time()}
    answer = await manager.http.put(f"{BOX}/messages/{message}", params=query, content=tone(1.5))
    assert answer.status_code == 204


@pytest.mark.parametrize("over", ["udp", "tcp", "wss"])
async def test_a_phone_subscribes_to_its_box(manager: Lab, party: Make, over: str) -> None:
    await in_force(manager)
    phone = party("2001", 101, over)
    await registered(phone)

    def work() -> None:
        one = Subscriber(phone)
        answer = one.subscribe()
        assert (answer.code, answer.get("Expires")) == (200, "600")
        first = one.told()
        assert first.get("Event") == "message-summary"
        assert 590 <= int(first.get("Subscription-State").removeprefix("active;expires=")) <= 600
        assert "Messages-Waiting: no" in first.body
        trio.from_thread.run(leave, manager, "m1")
        assert "Voice-Message: 1/0 (0/0)" in one.told().body
        # And not beside it, without a subscription.
        phone.silent("NOTIFY", 0.5)
        assert one.subscribe("1200").get("Expires") == "1200"
        assert "Messages-Waiting: yes" in one.told().body
        assert one.subscribe("0").get("Expires") == "0"
        last = one.told()
        assert last.get("Subscription-State") == "terminated;reason=timeout"
        trio.from_thread.run(manager.http.delete, f"{BOX}/messages/m1")
        # As a phone that has no subscription.
        notify = phone.expect("NOTIFY")
        phone.reply(notify, 200)
        assert notify.get("Call-ID") != one.call_id
        assert "Messages-Waiting: no" in notify.body

    await trio.to_thread.run_sync(work)


async def test_who_may_subscribe_and_how(manager: Lab, party: Make) -> None:
    await in_force(manager)
    phone = party("2001", 101)
    await registered(phone)

    def work() -> None:
        another = Subscriber(phone, "2002").subscribe()
        assert (another.code, another.reason) == (403, "Subscribe to Your Own Box")
        brief = Subscriber(phone).subscribe("30")
        assert (brief.code, brief.get("Min-Expires")) == (423, "60")
        assert Subscriber(phone).subscribe("86400").get("Expires") == "3600"
        one = Subscriber(phone)
        # RFC 6665 section 8.3.1: what is known is said.
        refused = one.ask("600", event="presence")
        assert (refused.code, refused.get("Allow-Events")) == (489, "message-summary")
        # One that nobody knows any more says all that there is to know.
        one.to += ";tag=lost"
        assert one.subscribe().code == 200
        assert "Messages-Waiting: no" in one.told().body

    await trio.to_thread.run_sync(work)


async def test_a_phone_that_comes_later_is_told(manager: Lab, party: Make) -> None:
    await in_force(manager)
    first, later, other = party("2001", 101), party("2001", 102), party("2002", 103)
    await registered(first)
    await leave(manager, "m1")
    assert "Messages-Waiting: yes" in (await told(first)).body
    await registered(later, other)
    assert "Messages-Waiting: yes" in (await told(later)).body
    # That was news to one of them only; a refresh is to nobody, nor is a box that never was.
    await registered(first, later)
    for each in (first, later, other):
        await trio.to_thread.run_sync(each.silent, "NOTIFY", 1.5)


async def test_lamps_go_on_and_off(manager: Lab, party: Make) -> None:
    await in_force(manager)
    phones = [party("2001", 101), party("2001", 102, "tls"), party("2002", 103)]
    await registered(*phones)
    await leave(manager, "m1")
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

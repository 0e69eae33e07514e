"""Requests outside calls: OPTIONS, MESSAGE, SUBSCRIBE and NOTIFY, both ways."""

from __future__ import annotations

import pytest
import trio
import trio.lowlevel

from services.core.sip import (
    CallRefusedError,
    MessageReceived,
    Notifier,
    NotifyReceived,
    UserAgent,
)
from tests.integration.sip.test_calls import at, two
from tests.support.waiting import until

SUMMARY = "application/simple-message-summary"


async def test_options() -> None:
    async with two() as (a, b):
        response = await a.request("OPTIONS", at(b))
        assert response.status == 200
        assert "INVITE" in response.headers.get("allow")
        assert "replaces" in response.headers.tokens("supported")


async def test_what_nobody_knows() -> None:
    async with two() as (a, b):
        for method, status in (("PUBLISH", 501), ("MESSAGE", 405), ("NOTIFY", 481)):
            with pytest.raises(CallRefusedError) as refused:
                await a.request(method, at(b))
            assert refused.value.status == status
        with pytest.raises(CallRefusedError) as refused:
            await a.request("OPTIONS", at(b), headers=[("Require", "nothing-known")])
        assert refused.value.status == 420
        assert refused.value.response.headers.get("unsupported") == "nothing-known"


async def test_message() -> None:
    got: list[MessageReceived] = []

    def take(message: MessageReceived) -> int:
        got.append(message)
        return 202

    async with two() as (a, b):
        b.outside.on_message = take
        await a.outside.message(at(b), "grüß dich", caller="<sip:2001@acme.example>")
        assert got[0].body.decode() == "grüß dich"
        assert "sip:2001@acme.example" in got[0].headers.get("from")


async def test_notify_that_nobody_subscribed_to() -> None:
    got: list[NotifyReceived] = []

    def take(notify: NotifyReceived) -> int:
        got.append(notify)
        return 200

    async with two() as (a, b):
        b.outside.on_notify = take
        await a.outside.notify(at(b), "message-summary", b"Messages-Waiting: yes\r\n", SUMMARY)
        assert (got[0].event, got[0].content_type) == ("message-summary", SUMMARY)


async def serve_mailbox(notifier: Notifier) -> None:
    notifier.notify(b"Messages-Waiting: no\r\n", SUMMARY)
    await trio.sleep(0.05)
    notifier.notify(b"Messages-Waiting: yes\r\n", SUMMARY)
    await notifier.wait_ended()


def serving(agent: UserAgent) -> int:
    return len(agent.outside._notifiers)


async def test_subscription() -> None:
    """RFC 3842 over RFC 6665: the state at once, its changes, and the end with the block."""
    async with two() as (a, b):
        b.outside.packages["message-summary"] = serve_mailbox
        async with a.outside.subscribe(at(b), "message-summary", accept=SUMMARY) as subscription:
            first = await anext(subscription)
            second = await anext(subscription)
            assert first.state.startswith("active;expires=36")
            assert [first.body, second.body] == [
                b"Messages-Waiting: no\r\n",
                b"Messages-Waiting: yes\r\n",
            ]
            assert serving(b) == 1
        await until(lambda: not serving(b))


async def test_subscription_is_refreshed() -> None:
    async with two() as (a, b):
        b.outside.packages["message-summary"] = serve_mailbox
        async with a.outside.subscribe(at(b), "message-summary", expires=1) as subscription:
            with trio.fail_after(60):
                bodies = [(await anext(subscription)).body for _ in range(4)]
            assert bodies[2:] == [b"Messages-Waiting: yes\r\n"] * 2
            assert serving(b) == 1


async def test_subscription_ended_by_the_notifier() -> None:
    async def serve(notifier: Notifier) -> None:
        notifier.notify(b"x", "text/plain")
        await trio.lowlevel.checkpoint()

    async with two() as (a, b):
        b.outside.packages["message-summary"] = serve
        async with a.outside.subscribe(at(b), "message-summary") as subscription:
            states = [notify.state async for notify in subscription]
            assert states[-1] == "terminated;reason=noresource"


async def test_unknown_event() -> None:
    async with two() as (a, b):
        with pytest.raises(CallRefusedError) as refused:
            async with a.outside.subscribe(at(b), "presence"):
                pytest.fail("there is no such event")
        assert refused.value.status == 489

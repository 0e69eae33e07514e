"""Calls whose media server dies are led to another one: what their parties see of it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import pytest
import trio

from tests.integration.agent.lab import Lab, wait_until_up
from tests.integration.agent.phones import Make, ready, registered
from tests.integration.calls.party import Call, Message, Party, connect, sdp

T = TypeVar("T")
MEDIA = {"media1": 21, "media2": 22}
WITHIN = 20.0


async def at_phone(work: Callable[..., T], *arguments: Any, **more: Any) -> T:
    return await trio.to_thread.run_sync(partial(work, *arguments, **more))


async def the_call(manager: Lab) -> dict[str, Any]:
    (found,) = await manager.get("/v1/calls")
    return found


async def talking(manager: Lab, party: Make) -> tuple[Call, Call]:
    await ready(manager, media=tuple(MEDIA))
    alice, bob = party("2001", 101), party("2002", 102)
    await registered(alice, bob)
    out, into = await at_phone(connect, alice, bob)

    async def known() -> bool:
        found = await manager.get("/v1/calls")
        return [one["answered"] is not None for one in found] == [True]

    await manager.until(known, "the call is known")
    return out, into


async def lose_media(manager: Lab) -> str:
    """The server that the call is on, which is gone for good."""
    name = (await the_call(manager))["media"]
    for task in ("agent", "rtpengine"):
        manager.stop(f"{name} {task}", signal.SIGKILL)
    return name


def number(message: Message) -> int:
    return int(message.get("CSeq").split()[0])


class Side:
    """One party that answers re-INVITEs, and notes what numbers it sees."""

    def __init__(self, call: Call, port: int) -> None:
        self.call, self.port = call, port
        self.party: Party = call.party
        self.last = number(call.invite) if call.dialog and not call.dialog.cseq else 0
        self.version = 1

    def body(self) -> str:
        self.version += 1
        return sdp(self.party.address, self.port, version=self.version)

    def hears(self, method: str) -> Message:
        """A request of the other one, with a higher number than the last."""
        request = self.party.expect(method, WITHIN)
        assert number(request) > self.last, request.text
        self.last = number(request)
        return request

    def invited(self) -> Message:
        """A re-INVITE, taken as target refresh."""
        invite = self.hears("INVITE")
        assert self.call.dialog is not None
        self.call.dialog.target = invite.contact
        return invite

    def offers(self) -> None:
        """Answer one without an offer."""
        invite = self.invited()
        assert invite.body == ""
        self.call.reply(200, self.body(), to=invite)

    def takes(self, server: str) -> None:
        """Answer one whose offer is of this media server."""
        invite = self.invited()
        assert f".{MEDIA[server]}\r\n" in invite.body, invite.text
        self.call.reply(200, self.body(), to=invite)

    def acknowledged(self) -> None:
        ack = self.party.expect("ACK", WITHIN)
        assert number(ack) == self.last

    def answered(self, server: str) -> None:
        """The answer to what it offered has come."""
        ack = self.party.expect("ACK", WITHIN)
        assert number(ack) == self.last
        assert f".{MEDIA[server]}\r\n" in ack.body, ack.text

    def refuses(self, code: int) -> None:
        self.call.reply(code, to=self.invited())
        self.party.expect("ACK")

    def says(self, other: Side, method: str, extra: str = "") -> Message:
        """A request that the other one takes; as that one had it."""
        sent = self.party.send(self.call.request(method, extra=extra))
        request = other.hears(method)
        other.call.reply(200, to=request)
        reply = self.party.expect_reply(method, 200)
        assert number(reply) == number(sent)
        return request

    def holds(self, other: Side, server: str) -> None:
        sent = self.party.send(self.call.request("INVITE", self.body()))
        other.takes(server)
        reply = self.party.expect_reply("INVITE", 200)
        assert number(reply) == number(sent)
        assert self.call.dialog is not None
        self.call.dialog.target = reply.contact
        self.call.ack()
        other.acknowledged()


def everything(near: Side, far: Side, server: str) -> None:
    for one, other in ((near, far), (far, near)):
        one.says(other, "INFO")
        one.holds(other, server)
        referred = one.says(other, "REFER", "Refer-To: <sip:2003@acme.example>\r\n")
        assert one.call.dialog is not None
        event = f"Event: refer;id={number(referred)}\r\nSubscription-State: active\r\n"
        notified = other.says(one, "NOTIFY", event)
        assert notified.get("Event") == f"refer;id={one.call.dialog.cseq}"


def other_server(name: str) -> str:
    return "media2" if name == "media1" else "media1"


async def led(manager: Lab, near: Side, far: Side, server: str) -> None:
    await at_phone(near.offers)
    await at_phone(far.takes, server)
    await at_phone(far.acknowledged)
    await at_phone(near.answered, server)

    async def there() -> bool:
        return (await the_call(manager))["media"] == server

    await manager.until(there, "the call is where it was led")


async def one_record(manager: Lab, call_id: str, server: str) -> None:
    async def stored() -> bool:
        return bool(await manager.get("/v1/events", call=call_id))

    await manager.until(stored, "the record is stored")
    (record,) = await manager.get("/v1/events", call=call_id)
    assert (record["reason"], record["media"]) == ("Normal Clearing", server)
    counted = await manager.rpc("htable.dump", "calls") or []
    assert not [slot for row in counted for slot in row["slot"] if int(slot["value"])]


async def hang_up(manager: Lab, one: Side, other: Side, server: str) -> None:
    await at_phone(one.says, other, "BYE")
    await one_record(manager, one.call.call_id, server)


async def test_everything_works_afterwards_and_once_more(manager: Lab, party: Make) -> None:
    out, into = await talking(manager, party)
    near, far = Side(out, 40000), Side(into, 42000)
    await at_phone(near.says, far, "INFO")
    await at_phone(far.says, near, "INFO")
    dead = await lose_media(manager)
    server = other_server(dead)
    await led(manager, near, far, server)
    await at_phone(everything, near, far, server)
    # Kamailio need not remember anything of it.
    manager.stop("kamailio", signal.SIGKILL)
    manager.start("kamailio")
    for task in ("agent", "rtpengine"):
        manager.start_again(f"{dead} {task}")
    # What is sent to a Kamailio that does not listen yet is lost.
    await wait_until_up(manager)
    await manager.media_is(media1="up", media2="up")
    await at_phone(everything, near, far, server)
    assert await lose_media(manager) == server
    await led(manager, near, far, dead)
    await at_phone(everything, near, far, dead)
    await hang_up(manager, far, near, dead)


@pytest.mark.long
async def test_who_is_busy_is_asked_again_and_who_refuses_is_told(
    manager: Lab, party: Make
) -> None:
    out, into = await talking(manager, party)
    near, far = Side(out, 40000), Side(into, 42000)
    server = other_server(await lose_media(manager))
    await at_phone(near.refuses, 491)
    await at_phone(near.refuses, 488)
    await led(manager, far, near, server)
    await at_phone(everything, near, far, server)
    await hang_up(manager, near, far, server)


@pytest.mark.long
async def test_numbers_that_are_too_low_are_followed_by_higher_ones(
    manager: Lab, party: Make
) -> None:
    out, into = await talking(manager, party)
    near, far = Side(out, 40000), Side(into, 42000)
    # A callee that counts from the time.
    assert into.dialog is not None
    into.dialog.cseq = 2**28 + 5
    await at_phone(far.says, near, "INFO")
    server = other_server(await lose_media(manager))
    low = await at_phone(near.party.expect, "INVITE", WITHIN)
    assert number(low) < near.last
    out.reply(500, to=low)
    await at_phone(near.party.expect, "ACK")
    await led(manager, near, far, server)
    await hang_up(manager, far, near, server)


@pytest.mark.parametrize("busy", [pytest.param(False, marks=pytest.mark.long), True])
async def test_an_agent_that_dies_in_the_middle_begins_anew(
    manager: Lab, party: Make, busy: bool
) -> None:
    out, into = await talking(manager, party)
    near, far = Side(out, 40000), Side(into, 42000)
    server = other_server(await lose_media(manager))
    await at_phone(near.offers)
    told = await at_phone(far.invited)
    manager.stop("agent", signal.SIGKILL)
    into.reply(200, far.body(), to=told)
    manager.start("agent")
    if busy:
        # Its own answer has no ACK yet.
        await at_phone(near.refuses, 491)
    await led(manager, near, far, server)
    await at_phone(everything, near, far, server)
    await hang_up(manager, near, far, server)


@pytest.mark.long
async def test_a_party_that_leaves_meanwhile_takes_the_other_along(
    manager: Lab, party: Make
) -> None:
    out, into = await talking(manager, party)
    near, far = Side(out, 40000), Side(into, 42000)
    await lose_media(manager)
    await at_phone(near.offers)
    told = await at_phone(far.invited)
    into.reply(481, to=told)
    await at_phone(near.party.expect, "ACK")
    for side in (near, far):
        bye = await at_phone(side.party.expect, "BYE", WITHIN)
        side.call.reply(200 if side is near else 481, to=bye)

    async def over() -> bool:
        return not await manager.get("/v1/calls")

    await manager.until(over, "the call is over")

"""A call as the agent sees it, from its start to its record, and how it is ended from here."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import trio

from services.call_manager.lost_media import MARGIN, PATIENCE
from services.call_manager.routing.sequence import LARGEST
from services.core.events import Ended, read_all
from tests.integration.agent.lab import DOMAIN, TENANT, Lab
from tests.integration.agent.phones import Make, ready, registered
from tests.integration.calls.party import Call, Party, connect, sdp, tag_of
from tests.integration.calls.test_media import srtp


async def calls(manager: Lab) -> list[dict[str, Any]]:
    return await manager.get("/v1/calls")


async def none_up(manager: Lab) -> None:
    """Wait for it: the view of calls and the store read the spool each for itself."""

    async def none() -> bool:
        return await calls(manager) == []

    await manager.until(none, "no call is up")


async def test_a_call_from_start_to_record(manager: Lab, party: Make) -> None:
    await ready(manager)
    assert (await manager.health())["status"] == "passing"
    alice, bob = party("2001", 101), party("2002", 102)
    await registered(alice, bob)
    bindings = await manager.get("/v1/registrations")
    assert sorted(one["extension"] for one in bindings) == ["2001", "2002"]
    assert bindings == sorted(bindings, key=lambda one: one["id"])
    (one,) = await manager.get("/v1/registrations", tenant=TENANT, extension="2002")
    assert one["contact"] == f"sip:2002@{manager.network}.102:5060"
    assert (one["tenant"], one["domain"]) == (TENANT, DOMAIN)
    assert await manager.get("/v1/registrations", tenant=TENANT, extension="2005") == []
    pages: list[str] = []
    while page := await manager.get("/v1/registrations", limit=1, after=pages[-1] if pages else ""):
        pages += [one["id"] for one in page]
    assert pages == [one["id"] for one in bindings]

    out, _ = await trio.to_thread.run_sync(connect, alice, bob)

    async def answered() -> bool:
        return [call["answered"] is not None for call in await calls(manager)] == [True]

    await manager.until(answered, "the call is shown as answered")
    (call,) = await calls(manager)
    assert (call["id"], call["caller"], call["callee"]) == (out.call_id, "2001", "2002")
    assert (call["tenant"], call["media"], call["server"]) == (TENANT, "media1", "cm1")
    metrics = (await manager.http.get("/metrics")).text
    assert 'pbx_calls{state="answered"} 1.0' in metrics
    assert 'pbx_media_servers{state="up"} 1.0' in metrics

    path = f"/v1/calls/{quote(out.call_id, safe='')}/recording"
    recorded = await manager.http.post(path)
    assert recorded.json() == {"id": out.call_id, "server": "media1", "recording": True}
    assert (await manager.http.post("/v1/calls/nobody/recording")).status_code == 404
    assert [one for one in manager.recordings("media1") if quote(out.call_id, safe="") in one]

    # A restarted agent knows the call, and Kamailio's restart takes it from nobody.
    manager.stop("agent")
    manager.start("agent")
    await manager.until(answered_after_restart(manager, out.call_id), "the call is known again", 30)

    told = await manager.http.put("/v1/ways", json={"calls": {out.call_id: ["main", "sales"]}})
    assert told.status_code == 204

    ended = await manager.http.delete(
        f"/v1/calls/{quote(out.call_id, safe='')}", params={"reason": "media-timeout"}
    )
    assert ended.json() == {"id": out.call_id, "result": "ended"}
    for one in (alice, bob):
        bye = await trio.to_thread.run_sync(one.expect, "BYE")
        one.reply(bye, 200)

    async def stored() -> bool:
        return bool(await manager.get("/v1/events"))

    await manager.until(stored, "the record is stored")
    (record,) = await manager.get("/v1/events")
    assert (record["id"], record["ended_by"], record["reason"]) == (
        out.call_id,
        "system",
        "media-timeout",
    )
    assert record["answered_by"] == "2002"
    assert record["way"] == ["main", "sales"]
    await none_up(manager)
    again = await manager.http.delete(f"/v1/calls/{quote(out.call_id, safe='')}")
    assert again.status_code == 404


def answered_after_restart(manager: Lab, call_id: str) -> Callable[[], Any]:
    async def known() -> bool:
        try:
            return [call["id"] for call in await calls(manager)] == [call_id]
        except httpx.TransportError:
            return False

    return known


async def test_calls_end_when_their_media_are_gone(manager: Lab, party: Make) -> None:
    await ready(manager)
    alice, bob = party("2001", 101), party("2002", 102)
    await registered(alice, bob)

    async def over(call_id: str) -> None:
        async def stored() -> bool:
            return bool(await manager.get("/v1/events", call=call_id))

        await manager.until(stored, "the call has ended", within=PATIENCE + 60)
        for one in (alice, bob):
            bye = await trio.to_thread.run_sync(one.expect, "BYE")
            one.reply(bye, 200)
        (record,) = await manager.get("/v1/events", call=call_id)
        assert (record["reason"], record["ended_by"]) == ("media", "system")
        assert record["media"] == "media1"
        ends = [e for e in read_all(manager.settings.spool_dir) if isinstance(e, Ended)]
        (end,) = [end for end in ends if end.call == call_id]
        assert (end.reason, end.by) == ("media", "system")
        await none_up(manager)

    # One that comes back at once has none of its sessions, and is asked about each; the call can be
    # led anew there, unless its parties refuse.
    first, _ = await trio.to_thread.run_sync(connect, alice, bob)
    await trio.sleep(MARGIN + 1)
    manager.stop("media1 rtpengine", signal.SIGKILL)
    manager.start_again("media1 rtpengine")
    for one in (alice, bob):
        invite = await trio.to_thread.run_sync(one.expect, "INVITE", 30)
        one.reply(invite, 488)
    await over(first.call_id)
    # One that stays away is waited for.
    await manager.media_is(media1="up")
    second, _ = await trio.to_thread.run_sync(connect, alice, bob)
    manager.stop("media1 rtpengine", signal.SIGKILL)
    killed = trio.current_time()
    await over(second.call_id)
    assert trio.current_time() - killed >= PATIENCE


async def test_a_ringing_call_is_cancelled(manager: Lab, party: Make) -> None:
    await ready(manager)
    alice, bob = party("2001", 101), party("2002", 102)
    await registered(alice, bob)
    out = await trio.to_thread.run_sync(alice.call, "2002")
    into = await trio.to_thread.run_sync(bob.invited)
    into.reply(180)

    async def up() -> bool:
        return bool(await calls(manager))

    await manager.until(up, "the call is shown")
    assert (await calls(manager))[0]["answered"] is None
    ended = await manager.http.delete(f"/v1/calls/{quote(out.call_id, safe='')}")
    assert ended.json()["result"] == "cancelled"
    cancel = await trio.to_thread.run_sync(bob.expect, "CANCEL")
    bob.reply(cancel, 200)
    into.reply(487)
    reply = await trio.to_thread.run_sync(out.expect, 480)
    assert reply.reason == "Ended by the Administrator"

    async def over() -> bool:
        return not await calls(manager)

    await manager.until(over, "the call is gone")

    async def stored() -> bool:
        return bool(await manager.get("/v1/events"))

    await manager.until(stored, "the record is stored")
    (record,) = await manager.get("/v1/events")
    assert (record["code"], record["reason"], record["ended_by"]) == (
        480,
        "ended by an administrator",
        "system",
    )
    (end,) = [end for end in read_all(manager.settings.spool_dir) if isinstance(end, Ended)]
    assert (end.code, end.reason, end.by) == (480, "ended by an administrator", "system")


async def test_a_call_that_kamailio_forgot_ends_when_its_media_do(
    manager: Lab, party: Make
) -> None:
    await ready(manager)
    alice, bob = party("2001", 101), party("2002", 102)
    await registered(alice, bob)
    out, _ = await trio.to_thread.run_sync(connect, alice, bob)

    async def up() -> bool:
        return bool(await calls(manager))

    await manager.until(up, "the call is shown")
    manager.stop("kamailio", 9)
    manager.start("kamailio")

    async def told() -> bool:
        answer = await manager.http.delete(
            f"/v1/calls/{quote(out.call_id, safe='')}", params={"reason": "media-timeout"}
        )
        return answer.status_code == 200

    await manager.until(told, "the stuck call is ended", within=40)
    # Kamailio need not know it to carry the requests that end it.
    for one in (alice, bob):
        one.reply(await trio.to_thread.run_sync(one.expect, "BYE"), 200)

    async def stored() -> bool:
        return [one["reason"] for one in await manager.get("/v1/events")] == ["media-timeout"]

    await manager.until(stored, "its record is stored")
    await none_up(manager)


async def test_both_sides_of_a_call_are_told_of_its_end_wherever_they_are(
    manager: Lab, party: Make
) -> None:
    """Each Contact says what only its own network knows, as behind a NAT."""
    await ready(manager)
    ways = (("tls", "udp"), ("wss", "tcp"), ("udp", "tls"))
    for number, (caller, callee) in enumerate(ways):
        alice = party("2001", 101 + 2 * number, caller)
        bob = party(f"200{2 + number}", 102 + 2 * number, callee)
        for phone, over in ((alice, caller), (bob, callee)):
            transport = {"udp": "", "wss": ";transport=ws"}.get(over, f";transport={over}")
            phone.contact = f"<sip:{phone.extension}@192.0.2.7:{40_999 + number}{transport}>"
        await registered(alice, bob)
        await ended_from_outside(manager, alice, bob, secure=callee == "tls")


async def ended_from_outside(manager: Lab, alice: Party, bob: Party, *, secure: bool) -> None:
    answer = srtp(bob.address) if secure else sdp(bob.address, 42000)
    out, into = await trio.to_thread.run_sync(answered, alice, bob, answer)
    path = f"/v1/calls/{quote(out.call_id, safe='')}"
    ended = await manager.http.delete(path, params={"reason": "unpaid"})
    assert ended.json()["result"] == "ended"
    for call in (out, into):
        bye = await trio.to_thread.run_sync(call.party.expect, "BYE")
        assert call.dialog is not None
        assert bye.uri == call.party.contact.strip("<>")
        assert bye.get("Call-ID") == out.call_id
        assert bye.get("CSeq") == f"{LARGEST} BYE"
        assert tag_of(bye.get("To")) == tag_of(call.dialog.local)
        assert tag_of(bye.get("From")) == tag_of(call.dialog.remote)
        assert "unpaid" not in bye.text
        call.party.reply(bye, 200)
    await none_up(manager)
    ends = [end for end in read_all(manager.settings.spool_dir) if isinstance(end, Ended)]
    (end,) = [end for end in ends if end.call == out.call_id]
    assert (end.code, end.reason, end.by) == (200, "unpaid", "system")
    for phone in (alice, bob):
        await trio.to_thread.run_sync(phone.silent, "BYE")


def answered(caller: Party, callee: Party, answer: str) -> tuple[Call, Call]:
    """A call that is up: both sides."""
    out = caller.call(callee.extension)
    into = callee.invited()
    into.reply(200, answer)
    out.expect(200)
    out.ack()
    callee.expect("ACK")
    return out, into

"""Transfers, recordings, carriers and limits over the death of the VIP's holder."""

from __future__ import annotations

import struct
import time
from urllib.parse import quote

import pytest

from tests.cluster.signalling import Signalling
from tests.cluster.signalling_documents import CHANNELS, RECORDED, SINGLE
from tests.cluster.states import answer, end, holder, over, rings, taken_up
from tests.integration.agent.subscriber import Subscriber
from tests.integration.agent.test_voicemail import tone
from tests.integration.calls.party import Call, Party, connect

pytestmark = pytest.mark.long

PACKETS = 50


def test_a_transfer_in_progress_is_completed(calls: Signalling) -> None:
    alice, bob, carol = calls.phone("2001"), calls.phone("2002"), calls.phone("2003")
    first, first_in = connect(alice, bob)
    target = referred(first_in, first, "sip:2003@sales.example")
    progress(first, first_in, "SIP/2.0 100 Trying")
    second = alice.call(target)
    third = carol.invited()
    third.reply(180)
    second.expect(180)
    calls.known(first.call_id)
    calls.known(second.call_id, "ringing")
    calls.fail_over()
    taken_up(calls, second)
    answer(second, third)
    progress(first, first_in, "SIP/2.0 200 OK")
    end(first_in, first)
    end(second, third)
    over(calls, first.call_id, code=200, ended_by="callee")
    over(calls, second.call_id, code=200, answered_by="2003")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_call_that_replaces_another_goes_on(calls: Signalling, when: str) -> None:
    alice, bob, carol = calls.phone("2001"), calls.phone("2002"), calls.phone("2003")
    first, first_in = connect(alice, bob)
    second, second_in = connect(bob, carol)
    replaced = f"{second.call_id};to-tag={second_in.tag};from-tag=x"
    escaped = replaced.replace(";", "%3B").replace("=", "%3D")
    target = referred(first_in, first, f"{carol.contact.strip('<>')}?Replaces={escaped}")
    third = alice.call(target.partition("?")[0], extra=f"Replaces: {replaced}\r\n")
    third_in = carol.invited()
    assert "Replaces" in third_in.invite.text
    third_in.reply(180)
    third.expect(180)
    calls.known(third.call_id, "ringing")
    if when == "after":
        answer(third, third_in)
        end(second_in, second)
        calls.known(third.call_id)
    calls.known(first.call_id)
    calls.fail_over()
    if when == "before":
        taken_up(calls, third)
        answer(third, third_in)
        end(second_in, second)
    end(first, first_in)
    end(third, third_in)
    over(calls, first.call_id, code=200, ended_by="caller")
    over(calls, second.call_id, code=200, ended_by="callee")
    over(calls, third.call_id, code=200, ended_by="caller")


def test_recorded_calls_have_one_recording_each(calls: Signalling) -> None:
    alice, bob, carol = calls.phone(RECORDED), calls.phone("2002"), calls.phone("2003")
    up = alice.call("2002")
    up_in = bob.invited()
    up_in.reply(180)
    answer(up, up_in)
    talk(calls, bob, up_in.invite.port)
    rung, rung_in = rings(calls, alice, carol)
    calls.known(up.call_id)
    calls.fail_over()
    talk(calls, bob, up_in.invite.port)
    taken_up(calls, rung)
    answer(rung, rung_in)
    talk(calls, carol, rung_in.invite.port)
    end(up, up_in)
    end(rung_in, rung)
    for call in (up, rung):
        over(calls, call.call_id, code=200, caller=RECORDED)
        (entry,) = calls.wait(lambda call=call: recordings(calls, call), "the recording", 60)
        assert (entry["tenant"], entry["server"]) == ("sales", calls.infra.name)
        assert entry["duration"] > PACKETS * 0.02 * 0.5, entry


def test_calls_on_trunks_go_on_and_fill_them(calls: Signalling) -> None:
    alice, bob, carrier = calls.phone("2001"), calls.phone("2002"), calls.carrier()
    up, up_in = connect(alice, carrier, "+49892323")
    rung = alice.call("+49891111")
    rung_in = carrier.invited()
    rung_in.reply(180)
    rung.expect(180)
    came = carrier.call(f"sip:+49301002@{calls.vip}", plain="1")
    came_in = bob.invited()
    came_in.reply(180)
    came.expect(180)
    calls.known(up.call_id)
    for call in (rung, came):
        calls.known(call.call_id, "ringing")
    calls.fail_over()
    for call in (rung, came):
        taken_up(calls, call)
    calls.wait(lambda: calls.counters(holder(calls)).get("k:udp") == CHANNELS, "the trunk's calls")
    refused = bob.call("+49893333")
    reply = bob.wait(
        lambda m: m.code >= 300 and m.get("Call-ID") == refused.call_id, "a refusal", 40
    )
    bob.acknowledge(refused.invite, reply)
    assert reply.code == 503, reply.text
    answer(rung, rung_in)
    answer(came, came_in)
    end(up_in, up)
    end(rung, rung_in)
    end(came, came_in)
    again, again_in = connect(bob, carrier, "+49893333")
    end(again, again_in)
    over(calls, up.call_id, code=200, trunk="udp", direction="outbound", ended_by="callee")
    over(calls, rung.call_id, code=200, trunk="udp", direction="outbound", ended_by="caller")
    over(calls, came.call_id, code=200, trunk="udp", direction="inbound", ended_by="caller")


def test_limits_hold_while_a_phone_is_away(calls: Signalling) -> None:
    alice, bob = calls.phone(SINGLE), calls.phone("2002", over="tcp")
    out, into = rings(calls, alice, bob)
    calls.fail_over()
    calls.wait(
        lambda: calls.counters(holder(calls)).get(f"u:sales/{SINGLE}"), "the call to be counted"
    )
    alice.call("2003").expect(403)
    calls.reconnect(bob)
    taken_up(calls, out)
    calls.wait(
        lambda: calls.counters(holder(calls)).get(f"u:sales/{SINGLE}") == 1, "it to count once"
    )
    answer(out, into)
    end(out, into)
    again, again_in = connect(alice, calls.phone("2003"))
    end(again, again_in)
    over(calls, out.call_id, code=200)


def referred(one: Call, other: Call, where: str) -> str:
    """``one`` refers ``other``; the URI to call."""
    one.say("REFER", extra=f"Refer-To: <{where}>\r\n")
    refer = other.party.expect("REFER")
    other.party.reply(refer, 202)
    one.party.expect_reply("REFER", 202)
    return refer.get("Refer-To").strip("<>")


def progress(one: Call, other: Call, line: str) -> None:
    """What the referred one tells of the new call (RFC 3515 section 2.4.4)."""
    state = "active" if " 100 " in line else "terminated;reason=noresource"
    extra = f"Event: refer\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag\r\n"
    one.say("NOTIFY", f"{line}\r\n", extra)
    notify = other.party.expect("NOTIFY")
    assert notify.body.startswith(line)
    other.party.reply(notify, 200)
    one.party.expect_reply("NOTIFY", 200)


def talk(calls: Signalling, callee: Party, to: int) -> None:
    """A second of sound from a callee to the media server's port."""
    with calls.outside.socket() as own:
        own.bind((callee.address, 42000))
        for number in range(PACKETS):
            header = struct.pack("!BBHII", 0x80, 8, number, number * 160, 1234)
            own.sendto(header + b"\xd5" * 160, (calls.infra.address, to))
            time.sleep(0.02)


def recordings(calls: Signalling, call: Call) -> list[dict[str, object]]:
    """The index's entries for a call, once they have their length."""
    asked = f"/v1/recordings?call={quote(call.call_id, safe='')}"
    found = calls.api(holder(calls), asked) or []
    return [entry for entry in found if entry.get("duration")] and found


def test_a_box_is_told_of_by_who_has_the_vip(calls: Signalling) -> None:
    """Subscriptions are known to every Call Manager, and to one that comes back."""
    alice = calls.phone("2001")
    one = Subscriber(alice)
    assert one.subscribe().code == 200
    assert "Voice-Message: 0/0" in one.told().body

    def leave(name: str) -> None:
        path = f"/v1/tenants/sales/voicemail/2001/messages/{name}?left_at={time.time()}"
        calls.api(holder(calls), path, "PUT", tone(1.0))

    calls.fail_over()
    leave("m1")
    assert "Voice-Message: 1/0" in one.told().body
    calls.bring_back()
    calls.fail_over()
    leave("m2")
    assert "Voice-Message: 2/0" in one.told().body
    assert one.subscribe("0").code == 200
    assert one.told().get("Subscription-State") == "terminated;reason=timeout"

"""Calls of phones on TCP, TLS and WebSocket, whose connections are lost with the VIP's holder."""

from __future__ import annotations

import pytest

from tests.cluster.signalling import Listening, Signalling
from tests.cluster.states import HOLD, answer, end, holder, moved, negotiate, over, rings, taken_up
from tests.integration.calls.party import connect, sdp

pytestmark = pytest.mark.long


@pytest.mark.parametrize("over_", ["tcp", "tls", "wss"])
def test_phones_on_connections_come_back(calls: Signalling, over_: str) -> None:
    alice, bob = calls.phone("2001", over=over_), calls.phone("2002", over=over_)
    out, into = connect(alice, bob)
    calls.known(out.call_id)
    calls.fail_over()
    calls.reconnect(alice)
    # The other one takes its time, and is waited for.
    out.say("INVITE", sdp(alice.address, 40000, extra=HOLD, version=2))
    calls.reconnect(bob)
    held = bob.expect("INVITE", 15)
    bob.reply(held, 200, sdp(bob.address, 42000))
    alice.expect_reply("INVITE", 200)
    out.ack()
    bob.expect("ACK")
    end(into, out)
    over(calls, out.call_id, code=200, ended_by="callee")


@pytest.mark.parametrize("late", [0.0, 3.0])
@pytest.mark.parametrize("over_", ["tcp", "tls", "wss"])
def test_a_phone_on_a_connection_goes_on_ringing(
    calls: Signalling, over_: str, late: float
) -> None:
    alice, bob = calls.phone("2001"), calls.phone("2002", over=over_)
    out, into = rings(calls, alice, bob)
    calls.fail_over()
    calls.reconnect(bob, late)
    taken_up(calls, out)
    answer(out, into)
    bob.silent("INVITE", 0.2)
    end(out, into)
    over(calls, out.call_id, code=200, answered_by="2002")


def test_those_of_a_group_who_are_late_ring_on(calls: Signalling) -> None:
    alice, bob, carol = calls.phone("2001"), calls.phone("2002"), calls.phone("2003", over="tls")
    out = alice.call("both")
    rung = [party.invited() for party in (bob, carol)]
    for into in rung:
        into.reply(180)
    out.expect(180)
    calls.known(out.call_id, "ringing")
    calls.fail_over()
    calls.reconnect(carol, 2)
    taken_up(calls, out)
    answer(out, rung[1])
    bob.reply(bob.expect("CANCEL"), 200)
    rung[0].reply(487)
    bob.expect("ACK")
    end(out, rung[1])
    over(calls, out.call_id, code=200, answered_by="2003")


@pytest.mark.parametrize("over_", ["tcp", "tls"])
def test_a_caller_on_a_new_connection_hears_the_answer(calls: Signalling, over_: str) -> None:
    alice, bob = calls.phone("2001", over=over_), calls.phone("2002", over="tcp")
    out, into = rings(calls, alice, bob)
    calls.fail_over()
    calls.reconnect(bob)
    calls.reconnect(alice, 2)
    taken_up(calls, out)
    answer(out, into)
    negotiate(out, into, 2, HOLD)
    end(into, out)
    over(calls, out.call_id, code=200, answered_by="2002", ended_by="callee")


def test_a_caller_on_a_new_connection_cancels(calls: Signalling) -> None:
    alice, bob = calls.phone("2001", over="tcp"), calls.phone("2002", over="tls")
    out, into = rings(calls, alice, bob)
    calls.fail_over()
    calls.reconnect(alice)
    # Before there is anything to be cancelled: the phone is not back.
    out.cancel()
    alice.expect_reply("CANCEL", 200)
    calls.reconnect(bob, 2)
    bob.reply(bob.expect("CANCEL"), 200)
    into.reply(487)
    bob.expect("ACK")
    out.expect(487)
    over(calls, out.call_id, code=487, ended_by="caller")


def test_a_phone_is_found_where_it_is_after_two_take_overs(calls: Signalling) -> None:
    alice, bob = calls.phone("2001"), calls.phone("2002", over="tcp")
    out, into = connect(alice, bob)
    calls.known(out.call_id)
    first = holder(calls)
    second = next(host for host in calls.managers if host is not first)
    for host in (second, first):
        moved(calls, host)
        calls.reconnect(bob)
        negotiate(out, into, 2)
    # The first holder has never heard that the first connection is gone.
    end(out, into)
    other, ringing_ = rings(calls, alice, bob)
    moved(calls, second)
    calls.reconnect(bob, 2)
    taken_up(calls, other)
    answer(other, ringing_)
    end(other, ringing_)
    over(calls, out.call_id, code=200, ended_by="caller")
    over(calls, other.call_id, code=200, answered_by="2002")


def test_a_phone_that_does_not_come_back_ends_its_call(calls: Signalling) -> None:
    alice, bob = calls.phone("2001"), calls.phone("2002", over="tcp")
    out, _ = connect(alice, bob)
    calls.known(out.call_id)
    calls.fail_over()
    out.say("BYE")
    reply = alice.wait(lambda m: m.code >= 200 and m.cseq == "BYE", "an answer to BYE", 30)
    assert reply.code >= 400
    over(calls, out.call_id, code=200, ended_by="caller")


def test_a_carrier_is_answered_where_its_via_says(calls: Signalling) -> None:
    """Its connection is gone with the last holder, and it makes no new one by itself."""
    bob, carol, carrier = calls.phone("2002"), calls.phone("2003"), calls.carrier("tcp")
    came = carrier.call(f"sip:+49301002@{calls.vip}", plain="1")
    came_in = bob.invited()
    answer(came, came_in)
    rung = carrier.call(f"sip:+49301003@{calls.vip}", plain="1")
    rung_in = carol.invited()
    rung_in.reply(180)
    rung.expect(180)
    calls.known(came.call_id)
    calls.known(rung.call_id, "ringing")
    calls.fail_over()
    taken_up(calls, rung)
    rung_in.reply(200, sdp(carol.address, 42000))
    assert isinstance(carrier.connection, Listening)
    carrier.connection.accept()
    rung.expect(200)
    rung.ack()
    carol.expect("ACK")
    came_in.say("BYE")
    carrier.connection.accept()
    carrier.reply(carrier.expect("BYE"), 200)
    came_in.expect_final("BYE", 200)
    end(rung, rung_in)
    over(calls, came.call_id, code=200, trunk="tcp", direction="inbound", ended_by="callee")
    over(calls, rung.call_id, code=200, trunk="tcp", direction="inbound", ended_by="caller")

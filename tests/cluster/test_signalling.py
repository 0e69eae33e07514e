"""Calls and registrations over the death of the Call Manager that has the VIP, in every state."""

from __future__ import annotations

import time

import pytest

from tests.cluster.signalling import Signalling
from tests.cluster.states import (
    HOLD,
    answer,
    end,
    holder,
    negotiate,
    over,
    ringing,
    rings,
    taken_up,
)
from tests.integration.agent.subscriber import Subscriber
from tests.integration.calls.party import connect, sdp

pytestmark = pytest.mark.long


def test_a_phone_is_called_at_once_after_a_take_over(calls: Signalling) -> None:
    alice, bob = calls.phone("2001"), calls.phone("2002")
    heir = next(host for host in calls.managers if host is not calls.holder)
    calls.wait(lambda: calls.bindings(heir, "2002"), "the binding at the next holder")
    calls.fail_over()
    out, into = connect(alice, bob)
    calls.bring_back()
    back = next(host for host in calls.managers if host is not calls.holder)
    calls.wait(lambda: calls.bindings(back, "2001"), "the returned one to know 2001")
    calls.wait(lambda: calls.bindings(back, "2002"), "the returned one to know 2002")
    end(out, into)
    over(calls, out.call_id, code=200)


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_an_answered_call_goes_on(calls: Signalling, who: str) -> None:
    alice, bob = calls.phone("2001"), calls.phone("2002")
    out, into = connect(alice, bob)
    one, other = (out, into) if who == "caller" else (into, out)
    calls.known(out.call_id)
    calls.fail_over()
    negotiate(one, other, 2, HOLD)
    negotiate(one, other, 3)
    one.say("INFO", extra="Content-Type: application/dtmf-relay\r\n")
    other.party.reply(other.party.expect("INFO"), 200)
    one.party.expect_reply("INFO", 200)
    calls.wait(lambda: calls.counters(holder(calls)).get("all") == 1, "the call to be counted")
    end(one, other)
    over(calls, out.call_id, code=200, ended_by=who, caller="2001", answered_by="2002")


def test_a_held_call_is_resumed(calls: Signalling) -> None:
    alice, bob = calls.phone("2001"), calls.phone("2002")
    out, into = connect(alice, bob)
    negotiate(into, out, 2, HOLD)
    calls.known(out.call_id)
    calls.fail_over()
    negotiate(into, out, 3)
    end(into, out)
    over(calls, out.call_id, ended_by="callee")


def test_a_ringing_call_is_answered(calls: Signalling) -> None:
    out, into = ringing(calls)
    calls.fail_over()
    taken_up(calls, out)
    answer(out, into)
    end(out, into)
    over(calls, out.call_id, code=200, answered_by="2002")


def test_an_answer_without_ack_is_passed_on(calls: Signalling) -> None:
    alice, bob = calls.phone("2001"), calls.phone("2002")
    out = alice.call("2002")
    into = bob.invited()
    into.reply(180)
    into.reply(200, sdp(bob.address, 42000))
    out.expect(200)
    # The ACK is lost with the holder.
    calls.known(out.call_id)
    heir = calls.fail_over()
    calls.wait(lambda: calls.table(heir, "cluster").get("term"), "the new holder")
    into.reply(200, sdp(bob.address, 42000))
    again = out.expect(200)
    assert again.port not in (0, 42000)
    assert "pbx-to=" in again.get("Contact")
    out.ack()
    bob.expect("ACK")
    end(out, into)
    over(calls, out.call_id, code=200)


def test_a_ringing_call_is_cancelled(calls: Signalling) -> None:
    out, into = ringing(calls)
    calls.fail_over()
    out.cancel()
    taken_up(calls, out)
    # UDP loses what nobody hears; the phone sends it again.
    out.cancel()
    bob = into.party
    bob.reply(bob.expect("CANCEL"), 200)
    into.reply(487)
    out.party.expect_reply("CANCEL", 200)
    out.expect(487)
    bob.expect("ACK")
    over(calls, out.call_id, code=487, ended_by="caller")


def test_a_ringing_call_is_refused(calls: Signalling) -> None:
    out, into = ringing(calls)
    calls.fail_over()
    taken_up(calls, out)
    into.reply(486)
    into.party.expect("ACK")
    # After an announcement.
    out.expect(486, 20)
    over(calls, out.call_id, code=486)


def test_a_ringing_call_that_nobody_answers_ends_in_time(calls: Signalling) -> None:
    alice, bob = calls.phone("2001"), calls.phone("2002")
    out = alice.call("turn")
    into = bob.invited()
    into.reply(180)
    out.expect(180)
    calls.known(out.call_id, "ringing")
    calls.fail_over()
    # Four seconds a member; the second one is not registered.
    bob.reply(bob.expect("CANCEL", 15), 200)
    into.reply(487)
    bob.expect("ACK")
    out.expect(480, 30)
    over(calls, out.call_id, code=480)


def test_the_next_of_a_group_rings_after_a_take_over(calls: Signalling) -> None:
    alice, bob, carol = calls.phone("2001"), calls.phone("2002"), calls.phone("2003")
    out = alice.call("turn")
    into = bob.invited()
    into.reply(180)
    out.expect(180)
    calls.known(out.call_id, "ringing")
    calls.fail_over()
    bob.reply(bob.expect("CANCEL", 15), 200)
    into.reply(487)
    then = carol.invited(10)
    answer(out, then)
    end(out, then)
    over(calls, out.call_id, code=200, answered_by="2003")


def test_a_later_stage_is_taken_up(calls: Signalling) -> None:
    alice, bob, carol = calls.phone("2001"), calls.phone("2002"), calls.phone("2003")
    out = alice.call("turn")
    into = bob.invited()
    into.reply(486)
    then = carol.invited()
    then.reply(180)
    out.expect(180)
    calls.known(out.call_id, "ringing")
    calls.fail_over()
    taken_up(calls, out)
    answer(out, then)
    carol.silent("INVITE", 0.2)
    end(out, then)
    over(calls, out.call_id, code=200, answered_by="2003")


def test_all_that_ring_go_on_and_one_answers(calls: Signalling) -> None:
    alice, bob, carol = calls.phone("2001"), calls.phone("2002"), calls.phone("2003")
    desk = calls.phone("2003")
    out = alice.call("both")
    rung = [party.invited() for party in (bob, carol, desk)]
    for into in rung:
        into.reply(180)
    out.expect(180)
    calls.known(out.call_id, "ringing")
    calls.fail_over()
    taken_up(calls, out)
    answer(out, rung[1])
    for into in (rung[0], rung[2]):
        into.party.reply(into.party.expect("CANCEL"), 200)
        into.reply(487)
        into.party.expect("ACK")
    end(out, rung[1])
    over(calls, out.call_id, code=200, answered_by="2003")


def test_a_transfer_goes_by_the_rights_of_who_asks(calls: Signalling) -> None:
    alice, bob, carol = calls.phone("2001"), calls.phone("2002"), calls.phone("2003")
    out, into = connect(alice, bob)
    calls.known(out.call_id)
    heir = calls.fail_over()
    calls.wait(lambda: out.call_id in calls.table(heir, "parties"), "the parties at the next one")
    into.say("REFER", extra="Refer-To: <sip:2003@sales.example>\r\nReferred-By: x\r\n")
    refer = alice.expect("REFER")
    alice.reply(refer, 202)
    bob.expect_reply("REFER", 202)
    target = refer.get("Refer-To").strip("<>")
    assert "pbx-by=2002." in target
    second = alice.call(target)
    third = carol.invited()
    answer(second, third)
    end(into, out)
    end(second, third)
    over(calls, out.call_id, code=200)
    over(calls, second.call_id, code=200)


def test_limits_hold_after_a_take_over(calls: Signalling) -> None:
    alice, bob = calls.phone("2009"), calls.phone("2002")
    out, into = connect(alice, bob)
    calls.known(out.call_id)
    calls.fail_over()
    calls.wait(lambda: calls.counters(holder(calls)).get("u:sales/2009"), "the counters")
    # 2009 may have one call.
    alice.call("2003").expect(403)
    end(out, into)
    calls.idle()
    again, once = connect(alice, bob)
    end(again, once)
    over(calls, out.call_id)


def test_a_call_is_ended_by_an_administrator(calls: Signalling) -> None:
    alice, bob = calls.phone("2001"), calls.phone("2002")
    out, into = connect(alice, bob)
    calls.known(out.call_id)
    calls.fail_over()
    answer_ = calls.api(holder(calls), f"/v1/calls/{out.call_id}", "DELETE")
    assert answer_["result"] == "ended"
    for call in (out, into):
        call.party.reply(call.party.expect("BYE"), 200)
        call.party.silent("BYE", 0.2)
    over(calls, out.call_id, ended_by="system")


def test_a_holder_that_was_paused_says_nothing_any_more(calls: Signalling) -> None:
    alice, bob, carol = calls.phone("2001"), calls.phone("2002"), calls.phone("2003")
    out, into = connect(alice, bob)
    other = alice.call("2003")
    third = carol.invited()
    third.reply(180)
    other.expect(180)
    calls.known(out.call_id)
    calls.known(other.call_id, "ringing")
    paused = holder(calls)
    paused.pause()
    calls.give_up()
    heir = next(host for host in calls.managers if host is not paused)
    calls.take(heir)
    taken_up(calls, other)
    answer(other, third)
    calls.wait_for_lapse()
    paused.resume()
    for call in (out, other):
        calls.wait(lambda call=call: calls.is_dropped(paused, call.call_id), "a dropped dialog")
    for call in (out, into, other, third):
        call.party.silent("BYE", 0.2)
    assert set(calls.up(heir)) == {out.call_id, other.call_id}
    end(out, into)
    end(third, other)
    over(calls, out.call_id, ended_by="caller")
    over(calls, other.call_id, ended_by="callee", code=200)


def test_the_vip_goes_away_and_comes_back(calls: Signalling) -> None:
    alice, bob = calls.phone("2001"), calls.phone("2002")
    out, into = connect(alice, bob)
    calls.known(out.call_id)
    first = holder(calls)
    second = next(host for host in calls.managers if host is not first)
    for host in (second, first):
        calls.give_up()
        calls.take(host)
        calls.wait(lambda host=host: calls.table(host, "cluster").get("term"), "the new holder")
        negotiate(out, into, 2)
    calls.wait(lambda: calls.counters(first).get("all") == 1, "the call to be counted once")
    end(out, into)
    over(calls, out.call_id, ended_by="caller")


@pytest.mark.parametrize("failure", ["paused", "cut off"])
def test_phones_that_registered_meanwhile_are_known_to_who_comes_back(
    calls: Signalling, failure: str
) -> None:
    away = next(host for host in calls.managers if host is not calls.holder)
    if failure == "paused":
        away.pause()
    else:
        away.partition(*(host for host in calls.managers if host is not away))
    bob = calls.phone("2002")
    assert Subscriber(bob, "2002").subscribe().code == 200
    # Longer than Kamailio says to the others what has changed.
    time.sleep(8)
    if failure == "paused":
        away.resume()
    else:
        away.heal()
    calls.wait(lambda: calls.bindings(away, "2002"), "the binding where it was missed", 60)
    calls.wait(lambda: "sales/2002" in calls.table(away, "subscriptions"), "the subscription", 15)


def test_a_call_that_ended_elsewhere_is_not_taken_up_again(calls: Signalling) -> None:
    alice, bob = calls.phone("2001"), calls.phone("2002")
    out, into = rings(calls, alice, bob)
    first = holder(calls)
    calls.fail_over()
    taken_up(calls, out)
    answer(out, into)
    end(out, into)
    first.power_on()
    calls.start_manager(first)

    def is_told() -> bool:
        """Of the end, but not of the answer: who is told that waits for it."""
        health = calls.api(first, "/health", good=(200, 503))
        return bool(health) and not any("not known here" in each for each in health["problems"])

    calls.wait(is_told, "the other's calls to be followed")
    calls.give_up()
    calls.take(first)
    calls.wait(lambda: calls.table(first, "cluster").get("term"), "the new holder")
    bob.silent("INVITE", 2.0)
    over(calls, out.call_id, code=200, answered_by="2002", ended_by="caller")

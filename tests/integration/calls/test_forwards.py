"""Forwarding, do not disturb, ring groups, redirections: who rings, when, and that it ends."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.integration.calls.lab import Lab, forward
from tests.integration.calls.party import Call, Party, sdp

Make = Callable[..., Party]


def answered_by(out: Call, callee: Party) -> None:
    """The callee takes the call, and it is hung up again."""
    into = callee.invited()
    into.reply(200, sdp(callee.address, 42000))
    out.expect(200)
    out.ack()
    callee.expect("ACK")
    out.say("BYE")
    callee.reply(callee.expect("BYE"), 200)
    out.party.expect_reply("BYE", 200)


def refuse(callee: Party, code: int, extra: str = "") -> None:
    into = callee.invited()
    into.reply(code, extra=extra)
    callee.expect("ACK")


def test_forward_always(lab: Lab, party: Make) -> None:
    lab.change_user("2002", forward=forward(always=("extension", "2003")))
    alice, bob, carol = party("2001"), party("2002"), party("2003")
    answered_by(alice.call("2002"), carol)
    bob.silent("INVITE")
    lab.idle()


@pytest.mark.parametrize("code", [486, 600, 603])
def test_forward_when_busy(lab: Lab, party: Make, code: int) -> None:
    lab.change_user("2002", forward=forward(busy=("extension", "2003")))
    alice, bob, carol = party("2001"), party("2002"), party("2003")
    out = alice.call("2002")
    refuse(bob, code)
    answered_by(out, carol)
    lab.idle()


def test_forward_when_nobody_answers(lab: Lab, party: Make) -> None:
    lab.change_user("2002", forward=forward(no_answer_after=1, no_answer=("extension", "2003")))
    alice, bob, carol = party("2001"), party("2002"), party("2003")
    out = alice.call("2002")
    into = bob.invited()
    into.reply(180)
    start = time.monotonic()
    bob.reply(bob.expect("CANCEL"), 200)
    assert time.monotonic() - start > 0.5
    into.reply(487)
    answered_by(out, carol)
    lab.idle()


def test_forward_when_not_registered(lab: Lab, party: Make) -> None:
    lab.change_user("2002", forward=forward(not_registered=("extension", "2003")))
    alice, carol = party("2001"), party("2003")
    answered_by(alice.call("2002"), carol)
    lab.idle()


def test_forwards_in_a_circle_end(lab: Lab, party: Make) -> None:
    lab.change_user("2002", forward=forward(always=("extension", "2003")))
    lab.change_user("2003", forward=forward(always=("extension", "2002")))
    party("2001").call("2002").expect(482)
    lab.idle()


def test_forward_outside_is_the_users_own_call(
    lab: Lab, party: Make, carrier: Callable[[str], Party]
) -> None:
    lab.change_user("2002", forward=forward(always=("number", "004330123")))
    alice, sbc = party("2001"), carrier("a")
    # 2002 may call nationally only, whatever the caller may do.
    lab.change_user("2001", permission="international")
    alice.call("2002").expect(403)
    sbc.silent("INVITE", 0.2)
    lab.change_user(
        "2002", permission="international", forward=forward(always=("number", "004330123"))
    )
    answered_by(alice.call("2002"), sbc)
    lab.idle()


def test_do_not_disturb(lab: Lab, party: Make) -> None:
    lab.change_user("2002", do_not_disturb=True)
    alice, bob, carol = party("2001"), party("2002"), party("2003")
    alice.call("2002").expect(486)
    bob.silent("INVITE", 0.2)
    lab.change_user("2002", do_not_disturb=True, forward=forward(busy=("extension", "2003")))
    answered_by(alice.call("2002"), carol)
    lab.idle()


def test_a_group_rings_all_at_once(lab: Lab, party: Make, carrier: Callable[[str], Party]) -> None:
    one, two, sbc = party("2001"), party("2002"), carrier("a")
    out = sbc.call("sip:+49301002@" + lab.address, plain="1")
    first, second = one.invited(), two.invited()
    # One who declines does not speak for the others.
    first.reply(603)
    one.expect("ACK")
    second.reply(180)
    out.expect(180)
    second.reply(200, sdp(two.address, 42000))
    out.expect(200)
    out.ack()
    out.say("BYE")
    two.expect("ACK")
    two.reply(two.expect("BYE"), 200)
    answered = lab.events(3)[1]
    assert getattr(answered, "by", "") == "2002"
    lab.idle()


def test_a_group_rings_in_turn_and_then_elsewhere(lab: Lab, party: Make) -> None:
    alice = party("2004")
    one, two, three = party("2001"), party("2002"), party("2003")
    out = alice.call("turn")
    refuse(one, 486)
    into = two.invited()
    three.silent("INVITE", 0.2)
    into.reply(180)
    two.reply(two.expect("CANCEL"), 200)
    into.reply(487)
    answered_by(out, three)
    lab.idle()


def test_a_group_rings_by_priority(lab: Lab, party: Make) -> None:
    alice, one, two = party("2004"), party("2001"), party("2002")
    out = alice.call("prio")
    into = two.invited()
    one.silent("INVITE", 0.2)
    into.reply(486)
    answered_by(out, one)
    lab.idle()


def test_a_group_of_nobody_says_so(lab: Lab, party: Make) -> None:
    party("2004").call("all").expect(480)
    lab.idle()


def test_a_forked_group_cancelled_by_the_caller(lab: Lab, party: Make) -> None:
    alice, one, two = party("2004"), party("2001"), party("2002")
    out = alice.call("turn")
    refuse(one, 486)
    into = two.invited()
    into.reply(180)
    out.expect(180)
    out.cancel()
    two.reply(two.expect("CANCEL"), 200)
    into.reply(487)
    out.expect(487)
    one.silent("INVITE", 0.3)
    lab.idle()


def test_a_redirection_is_followed_with_the_callees_rights(
    lab: Lab, party: Make, carrier: Callable[[str], Party]
) -> None:
    lab.change_user("2001", permission="international")
    alice, bob, carol, sbc = party("2001"), party("2002"), party("2003"), carrier("a")
    out = alice.call("2002")
    refuse(bob, 302, "Contact: <sip:2003@sales.example>\r\n")
    answered_by(out, carol)
    # National is his to call, abroad is not.
    out = alice.call("2002")
    refuse(bob, 302, "Contact: <tel:+4933123>\r\n")
    answered_by(out, sbc)
    out = alice.call("2002")
    refuse(bob, 302, "Contact: <sip:+33123456@sales.example>\r\n")
    out.expect(403)
    lab.idle()


@pytest.mark.parametrize(
    "contact",
    [
        "Contact: <sip:2003@evil.example>\r\n",
        "Contact: <sip:2001@other.example>\r\n",
        "Contact: <mailto:a@b>\r\n",
        "Contact: *\r\n",
        'Contact: "<sip:2003@sales.example\r\n',
        "X-Nothing: 1\r\nContact:\r\n",
    ],
)
def test_a_redirection_elsewhere_is_not_followed(lab: Lab, party: Make, contact: str) -> None:
    alice, bob, carol = party("2001"), party("2002"), party("2003")
    out = alice.call("2002")
    refuse(bob, 302, contact)
    out.expect(480)
    carol.silent("INVITE", 0.2)
    lab.idle()


def test_several_contacts_are_tried_best_first(lab: Lab, party: Make) -> None:
    alice, bob, carol, dave = party("2001"), party("2002"), party("2003"), party("2004")
    out = alice.call("2002")
    refuse(bob, 300, f"Contact: <sip:2003@{lab.address}>;q=0.2, <sip:2004@sales.example>;q=0.9\r\n")
    refuse(dave, 486)
    answered_by(out, carol)
    lab.idle()


def test_phones_that_redirect_to_each_other_end(lab: Lab, party: Make) -> None:
    alice, bob, carol = party("2001"), party("2002"), party("2003")
    out = alice.call("2002")
    refuse(bob, 302, "Contact: <sip:2003@sales.example>\r\n")
    refuse(carol, 302, "Contact: <sip:2002@sales.example>\r\n")
    out.expect(482)
    lab.idle()

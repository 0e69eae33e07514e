"""A call's whole life between two phones: routing, media, events, counters."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.core.events import Answered, Ended, Started
from tests.integration.calls.lab import Lab, forward
from tests.integration.calls.party import Party, connect, sdp

Make = Callable[..., Party]


def test_a_call_is_carried_anchored_and_told(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out, into = connect(alice, bob)

    assert into.invite.port not in (0, 40000)
    assert f"c=IN IP4 {lab.network}.2" in into.invite.body
    assert "ms=media" in into.invite.get("Record-Route")
    assert lab.counters()["all"] == 1

    out.say("BYE")
    bye = bob.expect("BYE")
    bob.reply(bye, 200)
    alice.expect_reply("BYE", 200)

    started, answered, ended = lab.events(3)
    assert isinstance(started, Started)
    assert (started.direction, started.caller, started.callee) == ("internal", "2001", "2002")
    assert started.tenant == "sales"
    assert started.media in ("media1", "media2")
    assert isinstance(answered, Answered)
    assert answered.by == "2002"
    assert isinstance(ended, Ended)
    assert (ended.code, ended.by, ended.answered) == (200, "caller", True)
    lab.idle()


def test_the_callee_hangs_up(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    _, into = connect(alice, bob)
    into.say("BYE", extra='Reason: Q.850;cause=16;text="bye"\r\n')
    alice.reply(alice.expect("BYE"), 200)
    bob.expect_reply("BYE", 200)
    ended = lab.events(3)[2]
    assert isinstance(ended, Ended)
    assert ended.by == "callee"
    assert ended.reason.startswith("Q.850;cause=16")
    lab.idle()


def test_all_contacts_ring_and_the_others_are_cancelled(lab: Lab, party: Make) -> None:
    alice = party("2001")
    desk, mobile = party("2002"), party("2002")
    out = alice.call("2002")
    at_desk, at_mobile = desk.invited(), mobile.invited()
    at_desk.reply(180)
    at_mobile.reply(180)
    at_mobile.reply(200, sdp(mobile.address, 42000))
    out.expect(200)
    out.ack()
    mobile.expect("ACK")
    cancel = desk.expect("CANCEL")
    desk.reply(cancel, 200)
    at_desk.reply(487)
    desk.expect("ACK")
    out.say("BYE")
    mobile.reply(mobile.expect("BYE"), 200)
    lab.events(3)
    lab.idle()


def test_the_caller_cancels_while_it_rings(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002")
    into = bob.invited()
    into.reply(180)
    out.expect(180)
    out.cancel()
    alice.expect_reply("CANCEL", 200)
    bob.reply(bob.expect("CANCEL"), 200)
    into.reply(487)
    out.expect(487)
    _, ended = lab.events(2)
    assert isinstance(ended, Ended)
    assert (ended.code, ended.by, ended.answered) == (487, "caller", False)
    lab.idle()


def test_a_cancel_before_any_reply_reaches_the_phone(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002")
    into = bob.invited()
    out.cancel()
    alice.expect_reply("CANCEL", 200)
    bob.reply(bob.expect("CANCEL"), 200)
    into.reply(487)
    out.expect(487)
    lab.events(2)
    lab.idle()


def test_an_answer_that_crosses_a_cancel_is_one_answered_call(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002")
    into = bob.invited()
    into.reply(180)
    out.expect(180)
    # The phone has answered before it sees the CANCEL (RFC 3261 section 9.1): the caller gets both.
    into.reply(200, sdp(bob.address, 42000))
    out.cancel()
    out.expect(200)
    out.ack()
    bob.expect("ACK")
    out.say("BYE")
    bob.reply(bob.expect("BYE"), 200)
    events = lab.events(3)
    assert [type(event) for event in events] == [Started, Answered, Ended]
    lab.idle()


def test_busy_is_passed_on_and_told(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002")
    bob.invited().reply(486)
    out.expect(486)
    _, ended = lab.events(2)
    assert isinstance(ended, Ended)
    assert (ended.code, ended.by) == (486, "callee")
    lab.idle()


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("2009", 480),  # nobody is registered
        ("2999", 404),
        ("nobody", 404),
        ("%00", 404),
        ("2" * 300, 404),
        ("sip:2001@other.example", 404),  # another tenant is not reached but by public numbers
        ("sip:2001@stranger.example", 404),
    ],
)
def test_who_cannot_be_called(lab: Lab, party: Make, target: str, code: int) -> None:
    alice = party("2001")
    alice.call(target).expect(code)
    started, ended = lab.events(2)
    assert isinstance(started, Started)
    assert isinstance(ended, Ended)
    assert (ended.code, ended.by, ended.answered) == (code, "system", False)
    lab.idle()


def test_a_call_without_a_contact_is_refused(lab: Lab, party: Make) -> None:
    alice = party("2001")
    party("2002")
    contact, alice.contact = alice.contact, "<sip:a@b>, <sip:c@d>"
    out = alice.call("2002")
    alice.contact = contact
    out.expect(400)
    lab.idle()


def test_ringing_ends(lab: Lab, party: Make) -> None:
    lab.change_user("2002", forward=forward(no_answer_after=1, no_answer=("extension", "2009")))
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002")
    into = bob.invited()
    into.reply(180)
    bob.reply(bob.expect("CANCEL"), 200)
    into.reply(487)
    out.expect(480)
    lab.idle()


def test_a_phone_that_says_nothing_is_given_up(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002")
    bob.invited()
    out.expect(480, 8)
    lab.events(2)
    lab.idle()


def test_a_stuck_call_is_ended_from_outside(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out, _ = connect(alice, bob)
    (dialog,) = (d for d in lab.manager.rpc("dlg.list") if d["call-id"] == out.call_id)
    lab.manager.rpc("dlg.end_dlg", dialog["h_entry"], dialog["h_id"])
    for phone in (alice, bob):
        phone.reply(phone.expect("BYE"), 200)
    ended = lab.events(3)[2]
    assert isinstance(ended, Ended)
    assert (ended.call, ended.by, ended.answered) == (out.call_id, "system", True)
    lab.idle()

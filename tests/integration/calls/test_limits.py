"""Simultaneous calls of users and tenants: exact, also after failures, cancels and in a crowd."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.calls.lab import Lab, forward
from tests.integration.calls.party import Party, connect, sdp
from tests.integration.calls.test_forwards import answered_by, refuse

Make = Callable[..., Party]
Carrier = Callable[[str], Party]


def test_a_users_limit_as_caller(lab: Lab, party: Make) -> None:
    lab.change_user("2001", max_calls=1)
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002")
    refuse(bob, 486)
    out.expect(486)
    out, _ = connect(alice, bob)
    alice.call("2002").expect(403)
    out.say("BYE")
    bob.reply(bob.expect("BYE"), 200)
    lab.idle()
    answered_by(alice.call("2002"), bob)
    lab.idle()


def test_a_user_in_a_call_is_busy(lab: Lab, party: Make) -> None:
    lab.change_user("2002", max_calls=1, forward=forward(busy=("extension", "2003")))
    alice, bob, carol, dave = (party(str(2000 + n)) for n in range(1, 5))
    out, _ = connect(alice, bob)
    answered_by(dave.call("2002"), carol)
    bob.silent("INVITE", 0.1)
    out.say("BYE")
    bob.reply(bob.expect("BYE"), 200)
    lab.idle()


def test_a_member_of_a_group_holds_a_place_only_while_it_rings(lab: Lab, party: Make) -> None:
    lab.change_user("2001", max_calls=1)
    lab.change_user("2002", max_calls=1)
    one, two, caller = party("2001"), party("2002"), party("2003")
    out = caller.call("all")
    first, second = one.invited(), two.invited()
    assert lab.counters()["u:sales/2001"] == lab.counters()["u:sales/2002"] == 1
    first.reply(180)
    second.reply(200, sdp(two.address))
    out.expect(200)
    out.ack()
    one.reply(one.expect("CANCEL"), 200)
    first.reply(487)
    lab.wait(lambda: "u:sales/2001" not in lab.counters(), "the first to be free")
    assert lab.counters()["u:sales/2002"] == 1
    out.say("BYE")
    two.expect("ACK")
    two.reply(two.expect("BYE"), 200)
    lab.idle()


def test_a_tenants_limit(lab: Lab, party: Make) -> None:
    one, two, three = (party(str(n), domain="small.example") for n in (1, 2, 3))
    out, _ = connect(one, two)
    three.call("2").expect(503)
    out.say("BYE")
    two.reply(two.expect("BYE"), 200)
    lab.idle()
    out = three.call("2")
    into = two.invited()
    into.reply(180)
    out.expect(180)
    out.cancel()
    two.reply(two.expect("CANCEL"), 200)
    into.reply(487)
    out.expect(487)
    lab.idle()

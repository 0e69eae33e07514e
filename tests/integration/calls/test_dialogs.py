"""Requests inside a dialog: hold, late offers, PRACK, transfer; and those that were made up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.core.events import Ended
from tests.integration.calls.lab import Lab
from tests.integration.calls.party import Call, Party, connect, sdp

Make = Callable[..., Party]
Carrier = Callable[[str], Party]
HOLD = "a=sendonly\r\n"


def end(caller: Call, callee: Party) -> None:
    caller.say("BYE")
    callee.reply(callee.expect("BYE"), 200)
    caller.party.expect_reply("BYE", 200)


def test_hold_and_resume_from_either_side(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out, into = connect(alice, bob)
    anchored = into.invite.port
    for side, other in ((out, bob), (into, alice)):
        for version, extra in ((2, HOLD), (3, "")):
            side.say("INVITE", sdp(side.party.address, 40000, extra=extra, version=version))
            held = other.expect("INVITE")
            assert ("a=sendonly" in held.body) == bool(extra)
            assert held.port != 40000
            if other is bob:
                assert held.port == anchored
            other.reply(held, 200, sdp(other.address, 42000))
            reply = side.party.expect_reply("INVITE", 200)
            assert f"{lab.network}.2" in reply.body
            side.ack()
            other.expect("ACK")
    end(out, bob)
    lab.idle()


def test_what_ends_a_call_is_aimed_and_cleaned_on_every_way(lab: Lab, party: Make) -> None:
    """A plain BYE takes the short cut of routes.cfg, an odd one goes through Python."""
    alice, bob = party("2001"), party("2002")
    claims = "P-Asserted-Identity: <sip:ceo@sales.example>\r\nX-PBX-Final: 200\r\n"
    for odd in ("", "X-PBX-End: because\r\n"):
        for by_caller in (True, False):
            out, into = connect(alice, bob)
            ending, other = (out, bob) if by_caller else (into, alice)
            ending.say("BYE", extra=claims + odd)
            bye = other.expect("BYE")
            assert bye.uri == other.contact.strip("<>")
            assert not bye.get("P-Asserted-Identity") + bye.get("X-PBX-Final")
            assert not bye.get("X-PBX-End")
            other.reply(bye, 200)
            ending.party.expect_reply("BYE", 200)
            lab.idle()


@pytest.mark.parametrize(
    "broken",
    [
        "From: <sip:2001@sales.example>;tag=x",
        'Subject: "a\0b"',
    ],
)
def test_a_bye_that_breaks_a_rule_does_not_end_the_call(lab: Lab, party: Make, broken: str) -> None:
    alice, bob = party("2001"), party("2002")
    out, _ = connect(alice, bob)
    out.say("BYE", extra=f"{broken}\r\n")
    alice.expect_reply("BYE", 400)
    bob.silent("BYE", 0.2)
    end(out, bob)
    lab.idle()


def test_a_bye_may_not_carry_a_line_break_for_others(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out, _ = connect(alice, bob)
    bye = out.request("BYE")
    alice.send(bye.replace("From: <sip:2001@", "From: <sip:2001%0d%0aX:@", 1))
    alice.expect_reply("BYE", 400)
    end(out, bob)
    lab.idle()


def test_session_timers_pass(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002", extra="Supported: timer\r\nSession-Expires: 1800;refresher=uac\r\n")
    into = bob.invited()
    assert into.invite.get("Session-Expires") == "1800;refresher=uac"
    into.reply(200, sdp(bob.address), "Session-Expires: 1800;refresher=uac\r\nRequire: timer\r\n")
    assert out.expect(200).get("Session-Expires")
    out.ack()
    bob.expect("ACK")
    out.say("UPDATE", extra="Session-Expires: 1800;refresher=uac\r\n")
    update = bob.expect("UPDATE")
    bob.reply(update, 200)
    alice.expect_reply("UPDATE", 200)
    end(out, bob)
    lab.idle()


def test_a_late_offer(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002", body="")
    into = bob.invited()
    assert into.invite.body == ""
    into.reply(200, sdp(bob.address, 42000))
    offer = out.expect(200)
    assert offer.port not in (0, 42000)
    out.ack(sdp(alice.address, 40000))
    answer = bob.expect("ACK")
    assert answer.port not in (0, 40000)
    assert f"c=IN IP4 {lab.network}.2" in answer.body
    end(out, bob)
    lab.idle()


def test_a_late_offer_inside_the_dialog(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out, into = connect(alice, bob)
    into.say("INVITE")
    again = alice.expect("INVITE")
    alice.reply(again, 200, sdp(alice.address, 40000, version=2))
    assert bob.expect_reply("INVITE", 200).port not in (0, 40000)
    into.party.send(into.request("ACK", sdp(bob.address, 42000), same=True))
    assert alice.expect("ACK").port not in (0, 42000)
    end(out, bob)
    lab.idle()


def test_early_media_with_prack(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002", extra="Supported: 100rel\r\n")
    into = bob.invited()
    into.reply(183, sdp(bob.address, 42000), "Require: 100rel\r\nRSeq: 1\r\n")
    early = out.expect(183)
    assert early.get("RSeq") == "1"
    assert early.port not in (0, 42000)
    out.say("PRACK", extra="RAck: 1 2 INVITE\r\n")
    prack = bob.expect("PRACK")
    bob.reply(prack, 200)
    alice.expect_reply("PRACK", 200)
    # An UPDATE may change the early session (RFC 3311).
    out.say("UPDATE", sdp(alice.address, 40000, version=2))
    update = bob.expect("UPDATE")
    assert update.port not in (0, 40000)
    bob.reply(update, 200, sdp(bob.address, 42000))
    assert alice.expect_reply("UPDATE", 200).port not in (0, 42000)
    into.reply(200, sdp(bob.address, 42000))
    out.expect(200)
    out.dialog.cseq = 2  # type: ignore[union-attr]  # the ACK has the INVITE's number
    out.ack()
    bob.expect("ACK")
    out.dialog.cseq = 9  # type: ignore[union-attr]
    end(out, bob)
    lab.idle()


def test_a_late_offer_in_a_reliable_183(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002", body="", extra="Supported: 100rel\r\n")
    into = bob.invited()
    into.reply(183, sdp(bob.address, 42000), "Require: 100rel\r\nRSeq: 1\r\n")
    assert out.expect(183).port not in (0, 42000)
    out.say("PRACK", sdp(alice.address, 40000), "RAck: 1 2 INVITE\r\n")
    prack = bob.expect("PRACK")
    assert prack.port not in (0, 40000)
    bob.reply(prack, 200)
    alice.expect_reply("PRACK", 200)
    out.cancel()
    bob.reply(bob.expect("CANCEL"), 200)
    into.reply(487)
    out.expect(487)
    lab.idle()


def test_blind_transfer(lab: Lab, party: Make) -> None:
    alice, bob, carol = party("2001"), party("2002"), party("2003")
    out, into = connect(alice, bob)
    into.say("REFER", extra="Refer-To: <sip:2003@sales.example>\r\nReferred-By: x\r\n")
    refer = alice.expect("REFER")
    alice.reply(refer, 202)
    bob.expect_reply("REFER", 202)
    target = refer.get("Refer-To").strip("<>")
    assert "pbx-by=2002." in target
    second = alice.call(target)
    third = carol.invited()
    assert "pbx-by" not in third.invite.uri
    third.reply(200, sdp(carol.address, 42000))
    second.expect(200)
    second.ack()
    carol.expect("ACK")
    out.say("NOTIFY", "", "Event: refer\r\nSubscription-State: terminated\r\n")
    notify = bob.expect("NOTIFY")
    bob.reply(notify, 200)
    alice.expect_reply("NOTIFY", 200)
    end(out, bob)
    end(second, carol)
    lab.idle()


def test_a_carrier_that_is_referred_calls_with_the_referrers_rights(
    lab: Lab, party: Make, carrier: Carrier
) -> None:
    alice, carol, sbc = party("2001"), party("2003"), carrier("a")
    _, into = connect(sbc, alice, f"sip:+49301001@{lab.address}", plain="1")
    into.say("REFER", extra="Refer-To: <sip:2003@sales.example>\r\n")
    refer = sbc.expect("REFER")
    sbc.reply(refer, 202)
    alice.expect_reply("REFER", 202)
    target = refer.get("Refer-To").strip("<>")
    forged = target.replace("sip:2003", "sip:2004")
    sbc.call(forged, plain="1").expect(404)
    out = sbc.call(target, plain="1")
    carol.invited().reply(486)
    out.expect(486)


def test_attended_transfer(lab: Lab, party: Make) -> None:
    alice, bob, carol = party("2001"), party("2002"), party("2003")
    first, first_in = connect(alice, bob)
    second, second_in = connect(bob, carol)
    # Bob joins Alice to Carol: Refer-To is Carol's own contact, with the dialog to replace.
    replaces = f"{second.call_id}%3Bto-tag%3D{second_in.tag}%3Bfrom-tag%3Dx"
    where = carol.contact.strip("<>")
    first_in.say("REFER", extra=f"Refer-To: <{where}?Replaces={replaces}>\r\n")
    refer = alice.expect("REFER")
    assert f"?Replaces={replaces}" in refer.get("Refer-To")
    alice.reply(refer, 202)
    bob.expect_reply("REFER", 202)
    target = refer.get("Refer-To").strip("<>").partition("?")[0]
    third = alice.call(
        target, extra="Replaces: " + replaces.replace("%3B", ";").replace("%3D", "=") + "\r\n"
    )
    third_in = carol.invited()
    assert "Replaces" in third_in.invite.text
    third_in.reply(200, sdp(carol.address, 42000))
    third.expect(200)
    third.ack()
    carol.expect("ACK")
    second_in.say("BYE")
    bob.reply(bob.expect("BYE"), 200)
    end(first, bob)
    end(third, carol)
    lab.idle()


@pytest.mark.parametrize(
    "method", ["INVITE", "BYE", "INFO", "REFER", "UPDATE", "NOTIFY", "MESSAGE"]
)
def test_a_made_up_dialog_reaches_nobody(lab: Lab, party: Make, method: str) -> None:
    mallory, bob = party("2001"), party("2002")
    target = bob.contact.strip("<>")
    good, _ = connect(party("2003"), bob)
    assert good.dialog
    signed = good.dialog.routes[0]
    routes = {
        "": 481,  # a To tag and nothing else
        f"Route: <sip:{lab.address};lr>\r\n": 481,
        f"Route: <sip:{lab.address};lr;ms=media1;mk=pp;sg=aaaaaaaaaaaaaaaa>\r\n": 403,
        f"Route: {signed}\r\n": 403,  # the signature of another call
        f"Route: {signed.replace('ms=media', 'ms=xedia')}\r\n": 403,
    }
    for route, code in routes.items():
        tag = "1" if "sg=" not in route else "2"
        sent = mallory.send(
            mallory.text(
                method,
                target,
                [
                    f"Via: {mallory.via()}",
                    f"From: <sip:2001@sales.example>;tag={tag}",
                    "To: <sip:2002@sales.example>;tag=77",
                    f"Call-ID: made-up-{method}-{code}-{len(route)}",
                    f"CSeq: 7 {method}",
                    f"Contact: {mallory.contact}",
                    "Refer-To: <sip:2003@sales.example>",
                ],
                extra=route,
            )
        )
        mallory.expect_reply(method, code, call_id=sent.get("Call-ID"))
    bob.silent(method, 0.2)


def test_a_stolen_route_does_not_serve_another_tag(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out, _ = connect(alice, bob)
    assert out.dialog
    text = out.request("BYE").replace(out.invite.get("From").split("tag=")[1], "stolen")
    alice.send(text)
    alice.expect_reply("BYE", 403)
    bob.silent("BYE", 0.2)
    end(out, bob)
    lab.idle()


@pytest.mark.parametrize("method", ["INVITE", "INFO", "REFER", "MESSAGE"])
def test_a_party_reaches_nobody_but_the_other(
    lab: Lab, party: Make, carrier: Carrier, method: str
) -> None:
    mallory, bob, stranger, sbc = party("2001"), party("2002"), party("2003"), carrier("a")
    out, _ = connect(mallory, bob)
    assert out.dialog
    good = out.dialog.target
    proof = good.partition(";pbx-to=")[2]
    where = sbc.contact.strip("<>").replace("sbc", "+1900555")
    assert proof
    for target in (
        where,
        f"{where};pbx-to={proof}",
        f"{where};alias={lab.network}.101~5060~1",
        stranger.contact.strip("<>"),
        good.replace("2002@", "+1900555@"),
        good.partition(";pbx-to=")[0],
    ):
        out.dialog.target = target
        out.say(method, extra="Refer-To: <sip:2004@sales.example>\r\n")
        mallory.expect_reply(method, 403)
        if method == "INVITE":
            mallory.heard.clear()
    # Nor does a route set of one's own lead elsewhere.
    out.dialog.target = good
    out.dialog.routes.append(f"<sip:{sbc.address};lr>")
    out.say("INFO")
    bob.reply(bob.expect("INFO"), 200)
    mallory.expect_reply("INFO", 200)
    out.dialog.routes.pop()
    sbc.silent(method, 0.2)
    stranger.silent(method, 0.1)
    end(out, bob)
    lab.idle()


def test_a_contact_that_changes_is_the_new_target(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    moved = party("2001", register=False)
    out, into = connect(alice, bob)
    # Alice's phone goes on from another address: only its re-INVITE says so.
    assert out.dialog
    roaming = Call(moved, out.invite)
    roaming.dialog = out.dialog
    roaming.say("INVITE", sdp(moved.address, 40000, version=2))
    again = bob.expect("INVITE")
    assert into.dialog
    into.dialog.target = again.contact
    bob.reply(again, 200, sdp(bob.address, 42000))
    moved.expect_reply("INVITE", 200)
    roaming.ack()
    bob.expect("ACK")
    into.say("BYE")
    moved.reply(moved.expect("BYE"), 200)
    bob.expect_reply("BYE", 200)
    lab.idle()


def test_a_carrier_with_proxies_of_its_own(lab: Lab, party: Make, carrier: Carrier) -> None:
    alice, sbc = party("2001"), carrier("a")
    out = alice.call("+49892323")
    into = sbc.invited()
    # Its gateway is elsewhere, and the way there is the proxy that speaks to us.
    sbc.contact = f"<sip:gw@{lab.network}.109:5070>"
    route = f"Record-Route: <sip:{sbc.address};lr>\r\n"
    into.reply(200, sdp(sbc.address, 42000), route)
    # Party.reply puts the received ones first; a route set has the nearest to the callee first.
    out.expect(200)
    assert out.dialog
    out.dialog.routes.sort(key=lambda one: sbc.address in one)
    out.ack()
    ack = sbc.expect("ACK")
    assert ack.uri == f"sip:gw@{lab.network}.109:5070"
    assert sbc.address in ack.get("Route")
    out.say("BYE")
    bye = sbc.expect("BYE")
    sbc.reply(bye, 200)
    alice.expect_reply("BYE", 200)
    lab.idle()


def test_an_ack_that_was_made_up_goes_nowhere(lab: Lab, party: Make) -> None:
    mallory, bob = party("2001"), party("2002")
    lines = [
        f"Via: {mallory.via()}",
        "From: <sip:2001@sales.example>;tag=1",
        "To: <sip:2002@sales.example>;tag=77",
        "Call-ID: made-up",
        "CSeq: 7 ACK",
    ]
    mallory.send(mallory.text("ACK", bob.contact.strip("<>"), lines))
    bob.silent("ACK", 0.2)


def test_refer_outside_a_dialog_is_refused(lab: Lab, party: Make) -> None:
    alice = party("2001")
    party("2002")
    uri = "sip:2002@sales.example"
    reply = alice.authenticated("REFER", uri, f"<{uri}>", "Refer-To: <sip:2003@x>\r\n")
    assert reply.code == 403


def test_a_bye_is_carried_by_a_call_manager_that_never_saw_the_call(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out, _ = connect(alice, bob)
    # A restart forgets every dialog, as another Call Manager never knew it.
    lab.manager.stop()
    lab.manager.start()
    end(out, bob)
    told = lab.events(3)[-1]
    assert isinstance(told, Ended)
    assert (told.call, told.by, told.answered) == (out.call_id, "caller", True)

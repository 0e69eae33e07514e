"""Carriers: in by address or registration, out by least cost with failover, limits, emergency."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import msgspec
import pytest

from services.call_manager.routing.route_signature import trunk_contact
from services.core.configuration import ha1
from services.core.events import Ended, Started
from tests.integration.calls.lab import Lab
from tests.integration.calls.party import Party, connect, sdp
from tests.integration.calls.test_forwards import answered_by, refuse

Make = Callable[..., Party]
Carrier = Callable[[str], Party]


def test_a_call_in_to_an_extension(lab: Lab, party: Make, carrier: Carrier) -> None:
    bob, sbc = party("2001"), carrier("a")
    for number in ("+49301001", "0049301001", "49301001"):
        answered_by(sbc.call(f"sip:{number}@{lab.address}", plain="1"), bob)
    started = lab.events(9)[0]
    assert isinstance(started, Started)
    assert (started.direction, started.trunk, started.tenant) == ("inbound", "carrier-a", "sales")
    lab.idle()


def test_a_call_in_to_a_number_as_carriers_write_it(
    lab: Lab, party: Make, carrier: Carrier
) -> None:
    bob, sbc = party("2001"), carrier("b")
    for uri in (
        "sip:{}0301001@{};user=phone",
        "sip:{}301001@{}",
        "sip:{}49301001@{}",
        "sip:{}+49301001;npdi;rn=+4930@{};user=phone",
        "sip:{}%2B49301001@{}",
        "tel:{}+49-30-1001",
        "tel:{}0301001;phone-context=x.example",
    ):
        out = sbc.call(
            uri.format("", lab.address), plain="1", from_="<sip:0891234@carrier.example;user=phone>"
        )
        into = bob.invited()
        # The caller can be called back.
        assert "sip:+49891234@sales.example" in into.invite.get("From")
        into.reply(486)
        out.expect(486)
    lab.idle()


def test_a_call_in_to_nobody(lab: Lab, carrier: Carrier) -> None:
    sbc = carrier("a")
    for number in ("+4930999", "2001", "abc"):
        sbc.call(f"sip:{number}@{lab.address}", plain="1").expect(404)
    lab.idle()


def test_a_call_in_by_registration(lab: Lab, party: Make, carrier: Carrier) -> None:
    bob, stranger = party("2001"), party("x", register=False)
    contact = trunk_contact(bytes.fromhex("11" * 32), "carrier-a")
    uri = f"sip:{contact}@{lab.address}"
    out = stranger.call(uri, plain="1")
    out.expect(404)
    lab.events(2)
    sent = stranger.start("INVITE", uri, "<sip:+49301001@carrier>", "", sdp("1.1.1.1"), plain="1")
    into = bob.invited()
    assert into.invite.get("Call-ID") == sent.get("Call-ID")
    into.reply(486)
    stranger.expect_reply("INVITE", 486)
    # A guessed name is a stranger's call.
    forged = uri.replace("trunk-carrier-a-", "trunk-carrier-a-a")
    stranger.call(forged, plain="1").party.wait(lambda m: m.code in (403, 407), "403 or 407")
    lab.idle()


def test_a_number_that_leads_out_again(lab: Lab, carrier: Carrier) -> None:
    sbc, other = carrier("b"), carrier("a")
    answered_by(sbc.call(f"sip:+49301003@{lab.address}", plain="1"), other)
    lab.idle()


def test_a_call_out_by_the_cheapest_trunk(lab: Lab, party: Make, carrier: Carrier) -> None:
    alice, a, b = party("2001"), carrier("a"), carrier("b")
    out = alice.call("0892323")
    into = a.invited()
    assert into.invite.uri == f"sip:+49892323@{lab.network}.101"
    assert into.invite.get("From").startswith(f"<sip:+4930100@{lab.address}>")
    assert into.invite.get("P-Asserted-Identity") == f"<sip:+4930100@{lab.address}>"
    into.reply(200, sdp(a.address, 42000))
    # The caller's own names come back to him.
    assert "sip:2001@sales.example" in out.expect(200).get("From")
    out.ack()
    a.expect("ACK")
    into.say("BYE")
    bye = alice.expect("BYE")
    assert "sip:2001@sales.example" in bye.get("To")
    alice.reply(bye, 200)
    a.expect_reply("BYE", 200)
    b.silent("INVITE", 0.1)
    started = lab.events(3)[0]
    assert isinstance(started, Started)
    assert (started.direction, started.trunk) == ("outbound", "carrier-a")
    assert started.callee == "+49892323"
    lab.idle()


@pytest.mark.parametrize("code", [500, 502, 503, 504, 408])
def test_failover_to_the_next_trunk(lab: Lab, party: Make, carrier: Carrier, code: int) -> None:
    alice, a, b = party("2001"), carrier("a"), carrier("b")
    out = alice.call("+49892323")
    refuse(a, code)
    answered_by(out, b)
    lab.idle()


def test_failover_from_a_trunk_that_is_silent(lab: Lab, party: Make, carrier: Carrier) -> None:
    alice, b = party("2001"), carrier("b")
    out = alice.call("+49892323")
    b.invited(5).reply(486)
    out.expect(486)
    lab.idle()


@pytest.mark.parametrize("code", [404, 486, 603, 484])
def test_what_the_carrier_says_of_the_number_holds(
    lab: Lab, party: Make, carrier: Carrier, code: int
) -> None:
    alice, a, b = party("2001"), carrier("a"), carrier("b")
    out = alice.call("+49892323")
    refuse(a, code)
    out.expect(code)
    b.silent("INVITE", 0.2)
    lab.idle()


def test_no_trunk_works(lab: Lab, party: Make, carrier: Carrier) -> None:
    alice, a, b = party("2001"), carrier("a"), carrier("b")
    out = alice.call("+49892323")
    refuse(a, 503)
    refuse(b, 500)
    out.expect(500)
    lab.idle()


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def test_a_trunk_that_asks_for_a_password(lab: Lab, party: Make, carrier: Carrier) -> None:
    credentials = {"username": "acme", "password": "geheim", "realm": ""}
    lab.manager.rpc("htable.sets", "trunk_auth", "carrier-a", json.dumps(credentials))
    alice, a = party("2001"), carrier("a")
    out = alice.call("+49892323")
    challenge = 'Proxy-Authenticate: Digest realm="carrier", nonce="abc", algorithm=MD5\r\n'
    refuse(a, 407, challenge)
    into = a.invited()
    given = into.invite.get("Proxy-Authorization")
    assert 'username="acme"' in given
    secret = ha1("acme", "carrier", "geheim", "MD5")
    uri = given.split('uri="')[1].split('"')[0]
    wanted = md5(f"{secret}:abc:{md5(f'INVITE:{uri}')}")
    assert f'response="{wanted}"' in given
    into.reply(200, sdp(a.address, 42000))
    out.expect(200)
    out.ack()
    a.expect("ACK")
    out.say("BYE")
    bye = a.expect("BYE")
    a.reply(bye, 200)
    alice.expect_reply("BYE", 200)
    # A password that is not taken is not tried for ever.
    out = alice.call("+49892323")
    refuse(a, 407, challenge)
    refuse(a, 407, challenge)
    out.expect(503)
    assert "geheim" not in lab.manager.log()
    lab.idle()


def test_permissions(lab: Lab, party: Make, carrier: Carrier) -> None:
    alice, sbc = party("2001"), carrier("a")
    alice.call("+33123456").expect(403)
    lab.change_user("2001", permission="internal")
    alice.call("+49892323").expect(403)
    sbc.silent("INVITE", 0.2)
    lab.change_user("2001", permission="international")
    answered_by(alice.call("+33123456"), sbc)
    lab.idle()


def test_tenants_reach_each_other_by_public_numbers_only(lab: Lab, party: Make) -> None:
    alice, far = party("2001"), party("2001", domain="other.example")
    out = alice.call("+49402001")
    into = far.invited()
    assert "sip:+4930100@other.example" in into.invite.get("From")
    assert "2001@sales" not in into.invite.get("From") + into.invite.get("P-Asserted-Identity")
    into.reply(486)
    out.expect(486)
    lab.idle()


def test_a_trunks_channels_are_exact(lab: Lab, party: Make, carrier: Carrier) -> None:
    alice, a, b = party("2001"), carrier("a"), carrier("b")
    one, _ = connect(alice, a, "+49892321")
    two, _ = connect(alice, a, "+49892322")
    # The third goes elsewhere, and a failure or a cancel gives its place back.
    out = alice.call("+49892323")
    refuse(b, 486)
    out.expect(486)
    assert lab.counters()["k:carrier-a"] == 2
    one.say("BYE")
    a.reply(a.expect("BYE"), 200)
    lab.wait(lambda: lab.counters().get("k:carrier-a") == 1, "a free channel")
    out = alice.call("+49892324")
    refuse(a, 486)
    out.expect(486)
    two.say("BYE")
    a.reply(a.expect("BYE"), 200)
    lab.idle()


def test_emergency_goes_through_whatever_is_in_the_way(
    lab: Lab, party: Make, carrier: Carrier
) -> None:
    lab.change_user("2001", permission="internal", max_calls=1)
    alice, bob, a, b = party("2001"), party("2002"), carrier("a"), carrier("b")
    connect(alice, bob)
    lab.manager.rpc("htable.sets", "overload", "shed", "100")
    lab.manager.rpc("htable.seti", "calls", "k:carrier-a", 2)
    out = alice.call("112")
    into = a.invited()
    assert into.invite.uri.startswith("sip:112@")
    # Any failure of one carrier leads to the other.
    into.reply(404)
    answered_by(out, b)
    answered_by(alice.call("110"), a)
    lab.manager.rpc("htable.delete", "overload", "shed")
    lab.manager.rpc("htable.seti", "calls", "k:carrier-a", 0)


def test_emergency_goes_through_without_media_servers(
    lab: Lab, party: Make, carrier: Carrier
) -> None:
    lab.media(media1="down", media2="down")
    alice, a = party("2001"), carrier("a")
    alice.call("+49892323").expect(503)
    out = alice.call("112")
    into = a.invited()
    assert into.invite.port == 40000
    into.reply(486)
    out.expect(486)
    lab.idle()


def test_events_of_a_call_that_failed_over(lab: Lab, party: Make, carrier: Carrier) -> None:
    alice, a, b = party("2001"), carrier("a"), carrier("b")
    out = alice.call("+49892323")
    refuse(a, 503)
    refuse(b, 486)
    out.expect(486)
    started, ended = lab.events(2)
    assert isinstance(started, Started)
    assert isinstance(ended, Ended)
    assert ended.code == 486
    assert msgspec.structs.asdict(ended)["answered"] is False
    lab.idle()

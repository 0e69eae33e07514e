"""Who is shown to whom; nothing that a phone claims of itself gets through."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.calls.lab import Lab
from tests.integration.calls.party import Message, Party
from tests.integration.calls.test_forwards import answered_by

Make = Callable[..., Party]
Carrier = Callable[[str], Party]

FORGED = (
    "P-Asserted-Identity: <sip:+49110@evil>\r\nRemote-Party-ID: <sip:ceo@evil>\r\n"
    "P-Preferred-Identity: <sip:x@evil>\r\nDiversion: <sip:y@evil>\r\nX-PBX-Final: 200\r\n"
)


def declined(callee: Party) -> Message:
    """The INVITE that comes, once it is refused."""
    into = callee.invited()
    into.reply(486)
    callee.expect("ACK")
    return into.invite


def test_what_a_user_claims_is_replaced(lab: Lab, party: Make, carrier: Carrier) -> None:
    alice, bob, sbc = party("2001"), party("2002"), carrier("a")
    alice.call("2002", extra=FORGED)
    invite = declined(bob)
    assert "evil" not in invite.text
    assert "X-PBX" not in invite.text
    assert invite.all("P-Asserted-Identity") == ['"User 1" <sip:2001@sales.example>']
    alice.call("+49892323", extra=FORGED)
    invite = declined(sbc)
    assert "evil" not in invite.text
    assert invite.all("P-Asserted-Identity") == [f"<sip:+4930100@{lab.address}>"]


def test_what_a_phone_claims_in_a_reply_is_removed(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002")
    bob.invited().reply(180, extra="P-Asserted-Identity: <sip:ceo@evil>\r\n")
    assert "evil" not in out.expect(180).text


def test_a_users_own_number(lab: Lab, party: Make, carrier: Carrier) -> None:
    lab.change_user("2001", caller_id="+493010042")
    alice, sbc = party("2001"), carrier("a")
    alice.call("+49892323")
    assert f"<sip:+493010042@{lab.address}>" in declined(sbc).get("From")


@pytest.mark.parametrize("how", ["privacy", "from"])
def test_an_anonymous_caller(lab: Lab, party: Make, carrier: Carrier, how: str) -> None:
    alice, bob, sbc = party("2001"), party("2002"), carrier("a")
    hidden = '"Anonymous" <sip:anonymous@anonymous.invalid>'
    more = {"extra": "Privacy: id\r\n"} if how == "privacy" else {"from_": hidden}
    alice.call("2002", **more)
    invite = declined(bob)
    assert "2001" not in invite.get("From") + invite.get("P-Asserted-Identity")
    assert "anonymous.invalid" in invite.get("From")
    target = "sip:+49892323@sales.example"
    alice.call(target, **more)
    invite = declined(sbc)
    assert "anonymous.invalid" in invite.get("From")
    # The carrier may know, and must not tell (RFC 3325 section 7).
    assert invite.get("P-Asserted-Identity") == f"<sip:+4930100@{lab.address}>"
    assert "id" in invite.get("Privacy")


def test_a_caller_from_outside(lab: Lab, party: Make, carrier: Carrier) -> None:
    alice, sbc = party("2001"), carrier("a")
    sbc.call(
        f"sip:+49301001@{lab.address}",
        plain="1",
        extra="P-Asserted-Identity: <sip:+49170123@carrier.example;user=phone>\r\n",
    )
    invite = declined(alice)
    assert "<sip:+49170123@sales.example>" in invite.get("From")
    assert invite.all("P-Asserted-Identity") == ["<sip:+49170123@sales.example>"]
    sbc.call(
        f"sip:+49301001@{lab.address}",
        plain="1",
        extra="P-Asserted-Identity: <sip:+49170123@carrier.example>\r\nPrivacy: id\r\n",
    )
    invite = declined(alice)
    assert "49170123" not in invite.text


def test_a_forwarded_call_shows_who_calls_and_who_pays(lab: Lab, carrier: Carrier) -> None:
    a, b = carrier("a"), carrier("b")
    out = b.call(
        f"sip:+49301003@{lab.address}", plain="1", from_="<sip:+491701234@carrier.example>"
    )
    into = a.invited()
    assert "sip:+491701234@" in into.invite.get("From")
    assert into.invite.get("P-Asserted-Identity") == f"<sip:+4930100@{lab.address}>"
    assert "+49301003" in into.invite.get("Diversion")
    into.reply(486)
    out.expect(486)


def test_credentials_stay_here(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    alice.call("2002", extra="Route: <sip:evil.example;lr>\r\n")
    invite = declined(bob)
    assert "Authorization" not in invite.text
    assert not invite.all("Route")


def test_a_preloaded_route_to_us_is_taken(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    answered_by(alice.call("2002", extra=f"Route: <sip:{lab.address};lr>\r\n"), bob)
    lab.idle()


def test_from_must_be_the_user(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    alice.call("2002", from_="<sip:2003@sales.example>").expect(403)
    bob.silent("INVITE", 0.2)

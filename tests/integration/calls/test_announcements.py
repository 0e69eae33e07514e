"""Announcements: early media from a media server, then the status it stands for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.core.events import Ended
from tests.integration.calls.lab import Lab, forward
from tests.integration.calls.party import Call, Party, sdp
from tests.integration.calls.test_forwards import refuse

Make = Callable[..., Party]
Carrier = Callable[[str], Party]


@pytest.fixture
def announcer(lab: Lab, party: Make) -> Party:
    """Stands where a media server plays announcements."""
    lab.media(announce=True)
    return party("announcer", host=50, register=False)


def hear(announcer: Party, out: Call, name: str, code: int, lab: Lab) -> None:
    """The announcement is asked for, plays, and ends as it was told to."""
    playing = announcer.invited()
    assert playing.invite.uri.startswith(f"sip:{name}@")
    assert "lang=en" in playing.invite.uri
    assert playing.invite.get("X-PBX-Final") == str(code)
    assert "RTP/AVP" in playing.invite.body
    # Said again as by a media server: where rtpengine is slow the first one goes on without SDP.
    heard = ""
    for _ in range(10):
        playing.reply(183, sdp(announcer.address, 42000))
        heard = out.expect(183).body
        assert announcer.address not in heard
        if heard:
            break
    assert f"{lab.network}.2" in heard
    playing.reply(code)
    announcer.expect("ACK")


def test_an_unknown_number(lab: Lab, party: Make, announcer: Party) -> None:
    alice = party("2001")
    out = alice.call("2999")
    hear(announcer, out, "unknown-number", 404, lab)
    out.expect(404)
    _, ended = lab.events(2)
    assert isinstance(ended, Ended)
    assert (ended.code, ended.answered) == (404, False)
    lab.idle()


def test_busy_and_unavailable(lab: Lab, party: Make, announcer: Party) -> None:
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002")
    refuse(bob, 486)
    hear(announcer, out, "busy", 486, lab)
    out.expect(486)
    out = alice.call("2009")
    hear(announcer, out, "unavailable", 480, lab)
    out.expect(480)
    lab.idle()


def test_not_permitted(lab: Lab, party: Make, announcer: Party) -> None:
    out = party("2001").call("+33123456")
    hear(announcer, out, "not-permitted", 403, lab)
    out.expect(403)
    lab.idle()


def test_a_carrier_gets_the_status_at_once(lab: Lab, announcer: Party, carrier: Carrier) -> None:
    carrier("a").call(f"sip:+4930999@{lab.address}", plain="1").expect(404)
    announcer.silent("INVITE", 0.2)
    lab.idle()


def test_a_number_that_is_an_announcement(lab: Lab, announcer: Party, carrier: Carrier) -> None:
    out = carrier("a").call(f"sip:+49301004@{lab.address}", plain="1")
    hear(announcer, out, "unavailable", 480, lab)
    out.expect(480)
    lab.idle()


def test_the_caller_hangs_up_during_it(lab: Lab, party: Make, announcer: Party) -> None:
    alice = party("2001")
    out = alice.call("2999")
    playing = announcer.invited()
    playing.reply(183, sdp(announcer.address, 42000))
    out.expect(183)
    out.cancel()
    announcer.reply(announcer.expect("CANCEL"), 200)
    playing.reply(487)
    out.expect(487)
    lab.idle()


def test_nobody_plays_it(lab: Lab, party: Make) -> None:
    lab.media(announce=True)
    party("2001").call("2999").expect(404)
    lab.idle()


def test_it_refuses_or_says_something_else(lab: Lab, party: Make, announcer: Party) -> None:
    out = party("2001").call("2999")
    refuse(announcer, 500)
    out.expect(404)
    out = party("2003").call("2999")
    # It must not take the call: an answered announcement would be charged.
    refuse(announcer, 302, "Contact: <sip:2002@sales.example>\r\n")
    out.expect(404)
    lab.idle()


def test_after_a_forward_that_failed(lab: Lab, party: Make, announcer: Party) -> None:
    lab.change_user("2002", forward=forward(busy=("extension", "2999")))
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002")
    refuse(bob, 486)
    hear(announcer, out, "busy", 486, lab)
    out.expect(486)
    lab.idle()

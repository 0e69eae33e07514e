"""Requests to an application server that has gone, in calls that it had: they go to its heir."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from services.call_manager.tables import AppServer
from tests.integration.calls.lab import Lab
from tests.integration.calls.party import Party, connect, sdp

Make = Callable[..., Party]


def server(party: Party, name: str, *, there: bool = True) -> AppServer:
    """A phone taken for an application server: what it says is of no importance here."""
    return AppServer(name=name, role="ivr", sip=f"{party.address}:5060", capacity=10, there=there)


def servers(lab: Lab, *found: AppServer) -> None:
    lab.manager.tables.write_apps(found)


@pytest.mark.parametrize("method", ["BYE", "INVITE", "INFO"])
def test_what_a_phone_says_reaches_the_heir(lab: Lab, party: Make, method: str) -> None:
    alice, first, second = party("2001"), party("2002"), party("2003")
    servers(lab, server(first, "app1"), server(second, "app2"))
    out, _ = connect(alice, first)
    servers(lab, server(first, "app1", there=False), server(second, "app2"))
    body = sdp(alice.address, 40000, version=2) if method == "INVITE" else ""
    out.say(method, body)
    came = second.expect(method)
    first.silent(method)
    # As it was addressed, for the dialog is the same.
    assert came.uri == first.contact.strip("<>")
    second.reply(came, 200, sdp(second.address, 42000) if body else "")
    alice.expect_reply(method, 200)
    if method == "BYE":
        lab.idle()


def test_an_invite_that_a_server_has_died_over_is_tried_at_its_heir(lab: Lab, party: Make) -> None:
    alice, first, second = party("2001"), party("2002"), party("2003")
    servers(lab, server(first, "app1"), server(second, "app2"))
    out, _ = connect(alice, first)
    began = time.monotonic()
    out.say("INVITE", sdp(alice.address, 40000, version=2))
    first.expect("INVITE")
    servers(lab, server(first, "app1", there=False), server(second, "app2"))
    came = second.expect("INVITE")
    assert time.monotonic() - began < 3
    second.reply(came, 200, sdp(second.address, 42000))
    assert f"{lab.network}.2" in alice.expect_reply("INVITE", 200).body
    out.ack()
    second.expect("ACK")


def test_a_server_that_is_there_has_its_time(lab: Lab, party: Make) -> None:
    alice, first, second = party("2001"), party("2002"), party("2003")
    servers(lab, server(first, "app1"), server(second, "app2"))
    out, _ = connect(alice, first)
    out.say("INVITE", sdp(alice.address, 40000, version=2))
    came = first.expect("INVITE")
    first.reply(came, 100)
    time.sleep(1.5)
    second.silent("INVITE")
    first.reply(came, 200, sdp(first.address, 42000))
    alice.expect_reply("INVITE", 200)


def test_who_goes_on_is_reached_and_counted(lab: Lab, party: Make) -> None:
    """The heir's own INVITE passes, and the phone's requests go to it from then on."""
    alice = party("2001")
    first, second = party("app1", register=False), party("app2", register=False)
    servers(lab, server(first, "app1"))
    out, into = connect(alice, first, "800")
    assert lab.counters()["a:ivr/app1"] == 1
    servers(lab, server(first, "app1", there=False), server(second, "app2"))
    into.party = second
    into.say("INVITE", sdp(second.address, 42000, version=2))
    came = alice.expect("INVITE")
    assert out.dialog is not None
    out.dialog.target = came.contact
    out.reply(200, sdp(alice.address, 40000, version=2), to=came)
    second.expect_reply("INVITE", 200)
    into.ack()
    alice.expect("ACK")
    counters = lab.counters()
    assert (counters.get("a:ivr/app1"), counters["a:ivr/app2"]) == (None, 1)
    servers(lab, server(first, "app1"), server(second, "app2"))
    out.say("BYE")
    second.reply(second.expect("BYE"), 200)
    alice.expect_reply("BYE", 200)
    lab.idle()

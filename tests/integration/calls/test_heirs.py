"""Requests to an application server that has gone, in calls that it had: they go to its heir."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from services.call_manager.tables import AppServer
from services.core import passport
from services.core.passport import Passport
from services.core.succession import shares
from tests.integration.calls.lab import Lab
from tests.integration.calls.party import Party, connect, sdp

Make = Callable[..., Party]
SEEN = 0.15
"""Seconds after which replies, too, are judged by what was written: a worker reads the tables anew
for each request, and for replies and timers if it has not for 0.1 s."""


def server(party: Party, name: str, *, there: bool = True) -> AppServer:
    """A phone taken for an application server: what it says is of no importance here."""
    return AppServer(name=name, role="ivr", sip=f"{party.address}:5060", capacity=10, there=there)


def servers(lab: Lab, *found: AppServer) -> None:
    lab.manager.tables.write_apps(found)
    time.sleep(SEEN)


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


@pytest.mark.parametrize("method", ["INVITE", "INFO", "BYE"])
def test_what_a_server_has_died_over_is_tried_at_its_heir(
    lab: Lab, party: Make, method: str
) -> None:
    alice, first, second = party("2001"), party("2002"), party("2003")
    servers(lab, server(first, "app1"), server(second, "app2"))
    out, _ = connect(alice, first)
    began = time.monotonic()
    body = sdp(alice.address, 40000, version=2) if method == "INVITE" else ""
    out.say(method, body)
    first.expect(method)
    servers(lab, server(first, "app1", there=False), server(second, "app2"))
    came = second.expect(method)
    assert time.monotonic() - began < 3
    second.reply(came, 200, sdp(second.address, 42000) if body else "")
    answer = alice.expect_reply(method, 200)
    if method == "INVITE":
        assert f"{lab.network}.2" in answer.body
        out.ack()
        second.expect("ACK")
    if method == "BYE":
        lab.idle()


def test_a_server_that_is_slow_gets_a_bye_once_more(lab: Lab, party: Make) -> None:
    alice, first, second = party("2001"), party("2002"), party("2003")
    servers(lab, server(first, "app1"), server(second, "app2"))
    out, _ = connect(alice, first)
    out.say("BYE")
    lost = first.expect("BYE")
    # A party takes what is repeated for the same; this one has a branch of its own.
    again = first.expect("BYE")
    assert again.get("Via") != lost.get("Via")
    first.reply(again, 200)
    alice.expect_reply("BYE", 200)
    second.silent("BYE", 0.1)
    lab.idle()


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


def test_a_call_made_for_a_caller_goes_where_the_callers_own_goes(lab: Lab, party: Make) -> None:
    alice = party("2001")
    first, *others = (party(f"app{number}", register=False) for number in (1, 2, 3))
    heirs = {"app2": others[0], "app3": others[1]}
    there = [server(phone, name) for name, phone in heirs.items()]
    servers(lab, server(first, "app1"), *there)
    call_id = f"{time.time_ns()}@{first.address}"
    within = next(
        f"{number}@caller"
        for number in range(100)
        if shares.successor(f"{number}@caller", heirs) != shares.successor(call_id, heirs)
    )
    ticket = Passport(tenant="sales", kind="extension", target="2001", within=within)
    value = passport.seal(
        lab.manager.settings.cluster_key(), "onward", call_id, ticket, time.time()
    )
    into, out = connect(
        first, alice, call_id=call_id, extra=f"{passport.HEADER}: {value}\r\n", plain="1"
    )
    servers(lab, server(first, "app1", there=False), *there)
    out.say("BYE")
    heir = heirs[str(shares.successor(within, heirs))]
    heir.reply(heir.expect("BYE"), 200)
    alice.expect_reply("BYE", 200)
    assert into.call_id == call_id
    lab.idle()

"""Every way in to every way out; a route set that crosses transports holds."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tests.integration.calls.lab import Lab
from tests.integration.calls.party import Party, sdp
from tests.integration.calls.test_media import BROWSER, srtp

Make = Callable[..., Party]
WAYS = ("udp", "tcp", "tls", "wss")


def offer_of(phone: Party, way: str) -> str:
    if way == "wss":
        return BROWSER.format(setup="actpass")
    return srtp(phone.address) if way == "tls" else sdp(phone.address)


def answer_of(phone: Party, way: str) -> str:
    if way == "wss":
        return BROWSER.format(setup="active").replace("111 8", "8")
    return srtp(phone.address) if way == "tls" else sdp(phone.address, 42000, "8")


@pytest.mark.parametrize(("one", "other"), list(itertools.product(WAYS, WAYS)))
def test_a_call_between_transports(lab: Lab, party: Make, one: str, other: str) -> None:
    alice, bob = party("2001", over=one), party("2002", over=other)
    out = alice.call("2002", body=offer_of(alice, one))
    into = bob.invited()
    into.reply(180)
    out.expect(180)
    into.reply(200, answer_of(bob, other))
    answer = out.expect(200)
    protocol = {"wss": "UDP/TLS/RTP/SAVPF", "tls": "RTP/SAVP "}
    assert protocol.get(one, "RTP/AVP ") in answer.body
    assert protocol.get(other, "RTP/AVP ") in into.invite.body
    out.ack()
    bob.expect("ACK")
    into.say("INFO")
    alice.reply(alice.expect("INFO"), 200)
    bob.expect_reply("INFO", 200)
    into.say("BYE")
    alice.reply(alice.expect("BYE"), 200)
    bob.expect_reply("BYE", 200)
    lab.idle()


def test_a_phone_behind_nat(lab: Lab, party: Make) -> None:
    alice, bob = party("2001", register=False), party("2002")
    alice.contact = "<sip:2001@192.168.1.20:5062>"
    alice.register()
    out = alice.call("2002")
    into = bob.invited()
    into.reply(200, sdp(bob.address))
    out.expect(200)
    out.ack()
    bob.expect("ACK")
    into.say("BYE")
    alice.reply(alice.expect("BYE"), 200)
    bob.expect_reply("BYE", 200)
    # And as callee.
    out = bob.call("2001")
    into = alice.invited()
    into.reply(200, sdp(alice.address))
    out.expect(200)
    out.ack()
    alice.expect("ACK")
    out.say("BYE")
    alice.reply(alice.expect("BYE"), 200)
    bob.expect_reply("BYE", 200)
    lab.idle()


def test_a_phone_whose_connection_is_gone_is_not_waited_for(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002", over="tcp")
    bob.connection.close()
    party("2003", over="tls").connection.close()
    for target in ("2002", "2003"):
        alice.call(target).expect(480, 7)
    lab.idle()

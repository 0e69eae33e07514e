"""What is not a call: MESSAGE, OPTIONS, and methods that have no place here."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.calls.lab import Lab
from tests.integration.calls.party import Party

Make = Callable[..., Party]
TEXT = "Content-Type: text/plain\r\n"


def test_a_message_reaches_every_contact(lab: Lab, party: Make) -> None:
    alice, desk, web = party("2001"), party("2002"), party("2002", over="wss")
    uri = "sip:2002@sales.example"
    sent = alice.start("MESSAGE", uri, f"<{uri}>", TEXT, "Grüße")
    for phone in (desk, web):
        message = phone.expect("MESSAGE")
        assert message.body == "Grüße"
        assert "Authorization" not in message.text
        phone.reply(message, 200)
    alice.expect_reply("MESSAGE", 200, call_id=sent.get("Call-ID"))


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("sip:2009@sales.example", 480),
        ("sip:2999@sales.example", 404),
        ("sip:2001@other.example", 404),
        ("sip:+49892323@sales.example", 404),
    ],
)
def test_a_message_to_nobody(lab: Lab, party: Make, uri: str, code: int) -> None:
    reply = party("2001").authenticated("MESSAGE", uri, f"<{uri}>", TEXT, "x")
    assert reply.code == code


def test_a_message_from_a_carrier(lab: Lab, party: Make, carrier: Callable[[str], Party]) -> None:
    bob = party("2002")
    uri = f"sip:2002@{lab.address}"
    reply = carrier("a").authenticated("MESSAGE", uri, f"<{uri}>", TEXT, "x", plain="1")
    assert reply.code == 405
    bob.silent("MESSAGE", 0.2)


def test_options(lab: Lab, party: Make) -> None:
    uri = f"sip:{lab.address}"
    stranger = party("x", register=False)
    reply = stranger.authenticated("OPTIONS", uri, f"<{uri}>", plain="1")
    assert reply.code == 200
    assert "INVITE" in reply.get("Allow")


@pytest.mark.parametrize(
    ("method", "code", "extra"),
    [
        ("SUBSCRIBE", 489, "Event: presence\r\n"),
        ("PUBLISH", 489, "Event: presence\r\n"),
        ("NOTIFY", 200, "Event: keep-alive\r\n"),
        ("NOTIFY", 489, "Event: refer\r\n"),
        ("BYE", 481, ""),
        ("PRACK", 481, ""),
        ("NONSENSE", 501, ""),
    ],
)
def test_other_methods(lab: Lab, party: Make, method: str, code: int, extra: str) -> None:
    uri = "sip:2002@sales.example"
    reply = party("2001").authenticated(method, uri, f"<{uri}>", extra, plain="1")
    assert reply.code == code


def test_a_cancel_of_nothing(lab: Lab, party: Make) -> None:
    uri = "sip:2002@sales.example"
    reply = party("2001").authenticated("CANCEL", uri, f"<{uri}>", plain="1")
    assert reply.code == 481

"""Who is told of a box: what is granted, what is kept, and who is left to be told otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.routing import subscription
from services.call_manager.routing.guard import Refusal
from services.call_manager.routing.subscription import MOST, Subscription
from services.call_manager.voicemail.waiting import notify_subscriber, others
from services.core.store import Binding
from services.core.store.voicemail import Box


def one(call: str, until: float = 100.0, hop: str = "sip:10.0.0.9:5060") -> Subscription:
    return Subscription(
        call=call,
        local="<sip:2001@acme.example>;tag=ours",
        remote="<sip:2001@acme.example>;tag=theirs",
        contact="sip:2001@10.0.0.9:5060",
        own="sip:2001@10.0.0.1",
        hop=f"{hop};transport=udp",
        until=until,
        event="message-summary;id=7",
        routes=("<sip:edge.example;lr>",),
    )


@pytest.mark.parametrize(
    ("said", "seconds"), [("", 3600), ("0", 0), ("60", 60), ("86400", 3600), ("9" * 20, 3600)]
)
def test_how_long(said: str, seconds: int) -> None:
    assert subscription.granted(said) == seconds


@pytest.mark.parametrize(
    ("said", "code"), [("59", 423), ("soon", 400), ("-1", 400), ("\u0663", 400)]
)
def test_how_long_is_refused(said: str, code: int) -> None:
    answer = subscription.granted(said)
    assert isinstance(answer, Refusal)
    assert answer.code == code


@given(st.text())
def test_what_is_kept_is_read_whatever_it_is(value: str) -> None:
    assert subscription.read(value, 0.0) == ()


def test_a_dialog_is_kept_once_and_ends() -> None:
    found = subscription.keep((), one("a"), 0.0)
    found = subscription.keep(found, one("b"), 0.0)
    found = subscription.keep(found, one("a", 200.0), 0.0)
    assert subscription.read(subscription.write(found), 0.0) == (one("b"), one("a", 200.0))
    assert subscription.read(subscription.write(found), 150.0) == (one("a", 200.0),)
    assert subscription.keep(found, one("a", 0.0), 0.0) == (one("b"),)


def test_no_more_than_the_newest_are_kept() -> None:
    found: tuple[Subscription, ...] = ()
    for number in range(MOST + 5):
        found = subscription.keep(found, one(str(number), 100.0 + number), 0.0)
    assert [each.call for each in found] == [str(number) for number in range(5, MOST + 5)]


def test_a_phone_that_has_subscribed_is_not_told_beside_it() -> None:
    def binding(contact: str, received: str = "") -> Binding:
        return Binding(
            id=contact,
            extension="2001",
            domain="acme",
            contact=contact,
            expires=1.0,
            received=received,
        )

    same = binding("sip:2001@10.0.0.9:5060")
    behind_nat = binding("sip:2001@192.168.1.5:5060", "sip:10.0.0.9:5060")
    another = binding("sip:2001@10.0.0.8:5060")
    assert others([same, behind_nat, another], [one("a")]) == [another]
    assert others([same, another], []) == [same, another]


@pytest.mark.parametrize(
    ("left", "state"), [(59.6, "active;expires=60"), (0.0, "terminated;reason=timeout")]
)
def test_a_notify_is_of_its_dialog(left: float, state: str) -> None:
    box = Box(tenant="acme", extension="2001", new=2, saved=1)
    method, uri, hop, _, headers, body = notify_subscriber(box, "acme.example", one("a"), left, 12)
    assert (method, uri, hop) == (
        "NOTIFY",
        "sip:2001@10.0.0.9:5060",
        "sip:10.0.0.9:5060;transport=udp",
    )
    lines = headers.split("\r\n")
    for line in (
        "From: <sip:2001@acme.example>;tag=ours",
        "To: <sip:2001@acme.example>;tag=theirs",
        "Call-ID: a",
        "CSeq: 12 NOTIFY",
        "Route: <sip:edge.example;lr>",
        "Event: message-summary;id=7",
        f"Subscription-State: {state}",
    ):
        assert line in lines
    assert "Voice-Message: 2/1 (0/0)\r\n" in body

"""When the other Call Managers are asked for their phones, and how."""

from __future__ import annotations

import json

from services.call_manager.resync import LATER, Missed, requests
from services.core.settings import Peer

ONE, OTHER = Peer("cm2", "10.0.0.2"), Peer("cm3", "10.0.0.3")


def test_who_was_silent_is_asked_at_once_and_again() -> None:
    missed = Missed()
    assert not missed.due(0.0)
    missed.gap(ONE, 10.0)
    missed.gap(OTHER, 12.0)
    assert missed.due(10.0) == [ONE]
    assert missed.due(12.0) == [OTHER]
    assert not missed.due(10.0 + LATER - 0.1)
    assert missed.due(12.0 + LATER) == [ONE, OTHER]
    assert not missed.due(1000.0)


def test_what_was_due_while_it_could_not_be_asked_is_asked_once() -> None:
    missed = Missed()
    missed.gap(ONE, 10.0)
    assert missed.due(10.0 + 2 * LATER) == [ONE]
    assert not missed.due(1000.0)


def test_who_is_heard_badly_is_not_asked_all_the_time() -> None:
    missed = Missed()
    asked: list[float] = []
    for at in range(200):
        if 10 <= at < 60:
            missed.gap(ONE, at)
        if missed.due(at):
            asked.append(at)
    assert asked[0] == 10
    assert asked == [10, 20, 40, 50, 70, 80]


def test_it_is_asked_as_a_kamailio_asks() -> None:
    for request, name in zip(
        requests("2001:db8::1", "2001:db8::2", 5066), ("usrloc", "htable"), strict=True
    ):
        head, _, body = request(40000).decode().partition("\r\n\r\n")
        assert head.startswith(f"KDMQ sip:{name}@[2001:db8::2]:5066 SIP/2.0\r\n")
        assert f"\r\nFrom: <sip:{name}@[2001:db8::1]:5066>;tag=" in head
        assert f"\r\nContent-Length: {len(body)}" in head
        assert json.loads(body).keys() == {"action"}

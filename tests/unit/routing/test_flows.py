"""Which of a user's connections is the phone's that a dialog knows."""

from __future__ import annotations

from services.call_manager.routing.flows import (
    NOBODY,
    Flow,
    arrange,
    choose,
    current,
    missing,
    place,
)
from services.call_manager.routing.target_signature import Source, Target


def flow(
    address: str,
    port: int,
    *,
    alive: bool = True,
    contact: str = "",
    at: int = 0,
    instance: str = "",
    number: int = 0,
) -> Flow:
    return Flow(
        contact or f"sip:2001@{address}:{port};transport=tcp",
        f"sip:{address}:{port};transport=tcp",
        alive,
        at,
        instance,
        number,
    )


TARGET = Target("sip:2001@192.0.2.1:4000;transport=tcp", Source("192.0.2.1", 4000, "tcp"), "p")


def test_a_connection_that_lasts_is_kept() -> None:
    same = flow("192.0.2.1", 4000)
    assert choose(TARGET, [flow("192.0.2.1", 4001), same]) == same.received


def test_the_new_connection_of_the_same_phone_is_found() -> None:
    old, new = flow("192.0.2.1", 4000, alive=False), flow("192.0.2.1", 4444)
    other = flow("192.0.2.7", 4000)
    assert choose(TARGET, [old, other, new]) == new.received


def test_a_phone_that_moved_is_known_by_its_contact() -> None:
    browser = Target("sip:x1@q9.invalid;transport=ws", Source("192.0.2.1", 4000, "ws"), "p")
    moved = flow("198.51.100.3", 999, contact="sip:x1@q9.invalid;transport=ws")
    assert choose(browser, [moved, flow("198.51.100.3", 998)]) == moved.received


def test_two_phones_behind_one_address_are_not_mixed_up() -> None:
    first = flow("192.0.2.1", 5001, contact="sip:2001@10.0.0.1:1")
    second = flow("192.0.2.1", 5002, contact="sip:2001@10.0.0.2:1")
    assert choose(TARGET, [first, second]) is None


def test_of_the_connections_that_a_phone_left_behind_the_newest_counts() -> None:
    left, new = flow("192.0.2.1", 4001, at=20, number=7), flow("192.0.2.1", 4002, at=20, number=9)
    assert choose(TARGET, [new, left]) == choose(TARGET, [left, new]) == new.received
    later = flow("192.0.2.1", 4003, at=21, number=3)
    assert choose(TARGET, [left, later, new]) == later.received
    # Elsewhere it may be anybody with the same private address.
    moved = [flow(address, 4000, contact=TARGET.uri) for address in ("192.0.2.2", "192.0.2.3")]
    assert choose(TARGET, moved) is None


def test_nobody_is_there() -> None:
    assert choose(TARGET, []) is None
    assert choose(TARGET, [flow("192.0.2.1", 4000, alive=False)]) is None


def test_ipv6() -> None:
    target = Target("sip:2001@[2001:db8::1]:1", Source("2001:db8::1", 4000, "tls"), "p")
    new = Flow("sip:2001@[2001:db8::1]:2", "sip:[2001:db8::1]:4001;transport=tls", alive=True)
    assert choose(target, [new]) == new.received


A, B, C = (("sip:a@h", "sip:192.0.2.1:5060"), ("sip:b@h", ""), ("sip:c@h", "sip:192.0.2.3:1"))


def test_branches_keep_their_numbers() -> None:
    assert arrange(0, [A, B], [B, A], []) == [A, B]
    assert arrange(0, [A, B], [C, B, A], []) == [A, B, C]
    assert arrange(2, [A], [A], []) == [NOBODY, NOBODY, A]


def test_a_phone_that_is_gone_leaves_its_number_free() -> None:
    assert arrange(0, [A, B], [B], []) == [NOBODY, B]


def test_a_phone_with_a_new_connection_takes_its_old_number() -> None:
    old, new = flow("192.0.2.1", 4000, alive=False), flow("192.0.2.1", 4444)
    before, after = (old.contact, old.received), (new.contact, new.received)
    assert arrange(0, [B, before], [before, after, B], [old, new]) == [B, after, NOBODY]


def test_a_phone_is_known_by_its_newest_binding() -> None:
    old, last = (flow("192.0.2.1", port, alive=False, at=port) for port in (4000, 4111))
    new = flow("192.0.2.1", 4444, at=5000)
    stored = [(each.contact, each.received) for each in (old, last)]
    after = (new.contact, new.received)
    here = [*stored, after]
    assert arrange(0, stored, here, [old, last, new]) == [NOBODY, after, NOBODY]
    assert arrange(0, stored[::-1], here, [old, last, new]) == [after, NOBODY, NOBODY]


def test_a_phone_that_came_back_elsewhere_has_left_its_old_connection() -> None:
    first = flow("192.0.2.1", 4000, at=10, number=1)
    elsewhere = flow("192.0.2.1", 4100, alive=False, at=30)
    assert choose(TARGET, current([first, elsewhere], 20.5)) is None
    again = flow("192.0.2.1", 4200, at=40, number=2)
    assert choose(TARGET, current([first, elsewhere, again], 35.5)) == again.received
    # All in one second.
    first = flow("192.0.2.1", 4000, at=20, number=1)
    again = flow("192.0.2.1", 4200, at=20, number=2)
    elsewhere = flow("192.0.2.1", 4100, alive=False, at=20)
    assert choose(TARGET, current([first, elsewhere, again], 20.5)) == again.received
    # By its name, wherever it is now.
    moved = flow("198.51.100.3", 1, alive=False, at=30, instance="urn:uuid:1")
    first = flow("192.0.2.1", 4000, at=10, instance="urn:uuid:1")
    assert choose(TARGET, current([first, moved], 20.5)) is None


def test_a_phone_that_has_not_noticed_keeps_its_connection() -> None:
    first = flow("192.0.2.1", 4000, at=10)
    assert choose(TARGET, current([first], 20.5)) == first.received
    # Another phone's comings and goings say nothing of it.
    other = flow("192.0.2.7", 4100, alive=False, at=30)
    named = flow("192.0.2.1", 4100, alive=False, at=30, instance="urn:uuid:2")
    mine = flow("192.0.2.1", 4000, at=10, instance="urn:uuid:1")
    assert choose(TARGET, current([first, other], 20.5)) == first.received
    assert choose(TARGET, current([mine, named], 20.5)) == mine.received
    # Two that are quiet, on one device.
    beside = flow("192.0.2.1", 4001, at=12)
    assert current([first, beside], 20.5) == [first, beside]


def test_what_was_registered_in_this_tenure_is_believed() -> None:
    first = flow("192.0.2.1", 4000, at=21)
    assert current([first, flow("192.0.2.1", 4001, alive=False, at=30)], 20.5)[0] == first


def test_branches_without_a_connection_are_missed() -> None:
    old, new = flow("192.0.2.1", 4000, alive=False), flow("192.0.2.1", 4444)
    before = (old.contact, old.received)
    assert missing([A, before, B], [old]) == [before]
    assert missing([A, before, B], [old, new]) == []
    assert missing([("sip:t@h", "sip:192.0.2.3:5060;transport=udp")], [old]) == []


def test_a_place_is_host_and_port() -> None:
    assert place("sip:192.0.2.1:4000;transport=tls") == "192.0.2.1:4000"
    assert place("sip:[2001:db8::1]:4001;transport=tls") == "[2001:db8::1]:4001"

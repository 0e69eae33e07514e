"""What a call that rang elsewhere is handed over in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.routing.restoration import (
    CALLER,
    HEADER,
    SOME,
    Restoration,
    branch_of,
    message,
    patience,
    read,
    sent_by_port,
    source,
)
from services.call_manager.routing.target_signature import Source

KEY = bytes(range(32))
FOUND = Restoration(
    "c@h", "udp:192.0.2.1:5060", "{}", "[1]", 2, (("sip:a@192.0.2.9", "sip:192.0.2.9:5062"),), 9.5
)
INVITE = "INVITE sip:2002@sales.example SIP/2.0\r\nCall-ID: c@h\r\n\r\nv=0\r\n"


def value(text: bytes) -> str:
    lines = text.decode().split("\r\n")
    assert lines[0] == "INVITE sip:2002@sales.example SIP/2.0"
    name, _, found = lines[1].partition(": ")
    assert name == HEADER
    return found


def test_it_comes_back_as_it_was_and_the_invite_too() -> None:
    made = message(KEY, INVITE, FOUND)
    assert made is not None
    assert read(KEY, value(made)) == FOUND
    assert made.decode().replace(f"{HEADER}: {value(made)}\r\n", "") == INVITE


def test_nobody_else_can_make_it() -> None:
    made = message(bytes(32), INVITE, FOUND)
    assert made is not None
    assert read(KEY, value(made)) is None
    ours = message(KEY, INVITE, FOUND)
    assert ours is not None
    packed, _, signature = value(ours).partition(".")
    assert read(KEY, f"{packed[:-4]}AAAA.{signature}") is None


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    assert read(KEY, text) is None


def test_what_is_no_invite_or_too_large_is_left_out() -> None:
    assert message(KEY, "", FOUND) is None
    assert message(KEY, "BYE sip:a@b SIP/2.0\r\n\r\n", FOUND) is None
    assert message(KEY, INVITE + "x" * 65_000, FOUND) is None


def test_phones_are_waited_for_as_long_as_they_would_have_rung() -> None:
    one, other = ("sip:a@h", "sip:192.0.2.1:1;transport=tcp"), ("sip:b@h", "")
    rung = Restoration("c@h", "udp:192.0.2.1:5060", "{}", "[1]", 0, (one, other), 130.0)
    assert patience(rung, [], caller_is_back=True, came=100.0) < 100
    assert patience(rung, [one], caller_is_back=True, came=100.0) == 100 + SOME
    assert patience(rung, [one, other], caller_is_back=True, came=100.0) == 130
    assert patience(rung, [], caller_is_back=False, came=100.0) == 100 + CALLER
    # Never past the end of the stage.
    assert patience(rung, [one], caller_is_back=False, came=128.0) == 130


def test_where_a_call_came_from() -> None:
    assert source("WSS:192.0.2.1:5060") == Source("192.0.2.1", 5060, "wss")
    assert source("tls:[2001:db8::1]:4000") == Source("2001:db8::1", 4000, "tls")


def test_what_is_read_of_a_via() -> None:
    via = "SIP/2.0/TCP [2001:db8::9]:5070;rport;branch=z9hG4bKx.1;received=192.0.2.1"
    assert (sent_by_port(via, "tcp"), branch_of(via)) == (5070, "z9hG4bKx.1")
    assert sent_by_port("SIP / 2.0 / TLS carrier.example;branch=z", "tls") == 5061
    assert sent_by_port("SIP/2.0/TCP carrier.example;maddr=a:1", "tcp") == 5060
    assert sent_by_port("SIP/2.0/TCP carrier.example : 5090 ;branch=z", "tcp") == 5090
    assert branch_of("") == ""

"""Route sets and referrals: what we signed we know, and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.routing import route_signature as signature

KEY = b"k" * 32
words = st.text("abcXYZ019.-_@", min_size=1, max_size=20)


def header(parameters: str, host: str = "10.0.0.1") -> str:
    return f"<sip:{host};lr;ftag=x{parameters};did=1.2>"


@given(words, words, words)
def test_both_parties_are_known(call_id: str, tag: str, other: str) -> None:
    route = signature.read_route(
        header(signature.route_parameters(KEY, call_id, tag, "media1", "pw"))
    )
    assert route is not None
    assert (route.media, route.kinds) == ("media1", "pw")
    assert signature.verify_route(KEY, route, call_id, tag, other) == "caller"
    if other != tag:
        assert signature.verify_route(KEY, route, call_id, other, tag) == "callee"
        assert signature.verify_route(KEY, route, call_id, other, other) is None
    assert signature.verify_route(KEY, route, call_id + "x", tag, other) is None
    assert signature.verify_route(b"x" * 32, route, call_id, tag, other) is None


@pytest.mark.parametrize("change", [("media1", "media2"), ("mk=pw", "mk=pp"), (";sg=", ";sg=a")])
def test_what_was_changed_is_not_ours(change: tuple[str, str]) -> None:
    text = header(signature.route_parameters(KEY, "c", "t", "media1", "pw")).replace(*change)
    route = signature.read_route(text)
    assert route is None or signature.verify_route(KEY, route, "c", "t", "u") is None


def test_a_call_without_media_server() -> None:
    route = signature.read_route(header(signature.route_parameters(KEY, "c", "t", "", "pp")))
    assert route is not None
    assert route.media == ""
    assert signature.verify_route(KEY, route, "c", "t", "u") == "caller"


@given(st.text(max_size=200))
def test_any_route_is_read(text: str) -> None:
    signature.read_route(text)
    signature.read_referral(KEY, "1", text, 0.0)
    signature.sign_referral(KEY, text, "t", "1", 0.0)
    signature.read_trunk_contact(KEY, text)


def test_only_the_first_route_counts() -> None:
    ours = header(signature.route_parameters(KEY, "c", "t", "media1", "pw"))
    assert signature.read_route(f"<sip:evil.example;lr>, {ours}") is None


def test_a_referral() -> None:
    signed = signature.sign_referral(
        KEY, "<sip:2003@sales.example?Replaces=a%40b>", "sales", "2001", 100.0
    )
    assert signed is not None
    assert signed.endswith("?Replaces=a%40b>")
    match = re.search(r";pbx-by=([^?>;]+)", signed)
    assert match
    assert signature.read_referral(KEY, "2003", match[1], 100.0) == ("sales", "2001")
    assert signature.read_referral(KEY, "2004", match[1], 100.0) is None
    assert signature.read_referral(KEY, "2003", match[1], 161.0) is None
    assert signature.read_referral(KEY, "2003", match[1].replace("2001", "2002"), 100.0) is None


@pytest.mark.parametrize(
    "value", ["", "<tel:+49>", "<sip:host>", "<sip:a@b>, <sip:c@d>", "x" * 5000]
)
def test_what_is_no_single_uri_is_not_signed(value: str) -> None:
    assert signature.sign_referral(KEY, value, "t", "1", 0.0) is None


def test_a_trunks_contact() -> None:
    contact = signature.trunk_contact(KEY, "carrier-a")
    assert signature.read_trunk_contact(KEY, contact) == "carrier-a"
    assert signature.read_trunk_contact(KEY, contact[:-1]) is None
    assert signature.read_trunk_contact(KEY, "trunk-carrier-a") is None
    assert signature.read_trunk_contact(KEY, "2001") is None

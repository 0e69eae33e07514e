"""Contacts as targets of requests: what a party said of itself is known again, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.routing.target_signature import (
    AS_SET_UP,
    Anchor,
    Kind,
    Source,
    next_hop,
    read_target,
    sign_again,
    sign_contact,
)

KEY = b"k" * 32
PHONE = Source("192.0.2.7", 40123, "tcp")


def signed(contact: str, source: Source = PHONE, kind: Kind = "p") -> str:
    found = sign_contact(KEY, "call", contact, source, kind)
    assert found is not None
    return found.value


def uri_of(value: str) -> str:
    return value.rpartition("<")[2].partition(">")[0]


@pytest.mark.parametrize(
    ("contact", "uri"),
    [
        ("<sip:2001@10.0.0.5:5062>", "sip:2001@10.0.0.5:5062"),
        ('"A, <B>" <sip:2001@10.0.0.5;ob>;+sip.ice', "sip:2001@10.0.0.5;ob"),
        ("sip:2001@10.0.0.5;expires=60", "sip:2001@10.0.0.5"),
        ("<sips:10.0.0.5>", "sips:10.0.0.5"),
        ("<sip:x@a.invalid;transport=ws>", "sip:x@a.invalid;transport=ws"),
        ("<sip:2001@[2001:db8::1]:5060>", "sip:2001@[2001:db8::1]:5060"),
    ],
)
def test_a_contact_is_known_again(contact: str, uri: str) -> None:
    value = signed(contact)
    target = read_target(KEY, "call", uri_of(value))
    assert target is not None
    assert (target.uri, target.source, target.kind) == (uri, PHONE, "p")
    # Signed twice, as by the next offer, it is signed once.
    assert signed(value) == value


@pytest.mark.parametrize("contact", ["<sip:2001@10.0.0.5:5062>", "<sip:2001@[2001:db8::1];ob>"])
def test_the_short_cut_is_what_reading_it_would_give(contact: str) -> None:
    found = sign_contact(KEY, "call", contact, Source("192.0.2.7", 40123, "udp"), "p")
    assert found is not None
    repeated, uri, hop = found.short_cut.split("|")
    target = read_target(KEY, "call", repeated)
    assert repeated == uri_of(found.value)
    assert target is not None
    assert (target.uri, next_hop(target, "")) == (uri, hop)


@pytest.mark.parametrize(
    ("contact", "kind", "transport"),
    [
        ("<sip:a@10.0.0.5>", "t", "udp"),
        ("<sip:a@10.0.0.5>", "p", "tls"),
        ("<sip:a|b@10.0.0.5>", "p", "udp"),
    ],
)
def test_carriers_and_connections_have_no_short_cut(
    contact: str, kind: Kind, transport: str
) -> None:
    found = sign_contact(KEY, "call", contact, Source("192.0.2.7", 40123, transport), kind)
    assert found is not None
    assert found.short_cut == ""


def test_a_contact_says_where_the_media_are_now() -> None:
    anchor = Anchor(2, "media-2.example")
    value = sign_contact(KEY, "call", "<sip:2001@10.0.0.5;ob>;x=y", PHONE, "p", anchor)
    assert value is not None
    assert value.short_cut == ""
    target = read_target(KEY, "call", uri_of(value.value))
    assert target is not None
    assert (target.uri, target.anchor) == ("sip:2001@10.0.0.5;ob", anchor)
    later = sign_again(KEY, "call", target, Anchor(3, "media1"))
    found = read_target(KEY, "call", later)
    assert found is not None
    assert (found.uri, found.source, found.anchor) == (target.uri, PHONE, Anchor(3, "media1"))
    # As it was set up, when it is signed so.
    again = read_target(KEY, "call", sign_again(KEY, "call", found, AS_SET_UP))
    assert again is not None
    assert again.anchor == AS_SET_UP
    for changed in (
        later.replace("~3~", "~4~"),
        later.replace("media1", "media2"),
        later.replace("~3~media1", ""),
    ):
        assert read_target(KEY, "call", changed) is None


def test_user_agents_may_print_it_anew() -> None:
    uri = uri_of(signed("<sip:%2B4930@A.example:5060;foo;transport=TCP>"))
    proof = uri.rpartition(";")[2]
    again = f"SIP:+4930@a.EXAMPLE:5060;transport=tcp;{proof};foo;user=phone"
    assert read_target(KEY, "call", again) is not None


@pytest.mark.parametrize(
    "change",
    [
        ("2001@", "+1900555@"),
        ("10.0.0.5", "198.51.100.1"),
        (":5062", ":5060"),
        ("192.0.2.7~", "198.51.100.1~"),
        ("~40123~", "~5060~"),
        ("~tcp~", "~udp~"),
        ("~p~", "~t~"),
        ("sip:2001@10.0.0.5:5062", "sip:2001@10.0.0.5:5062@198.51.100.1"),
        (";pbx-to", ";maddr=198.51.100.1;pbx-to"),
        (";pbx-to", ";pbx-to=1~2~3~p~4;pbx-to"),
        ("pbx-to", "pbx-too"),
    ],
)
def test_nothing_else_is(change: tuple[str, str]) -> None:
    uri = uri_of(signed("<sip:2001@10.0.0.5:5062>"))
    assert read_target(KEY, "call", uri) is not None
    assert uri.replace(*change) != uri
    assert read_target(KEY, "call", uri.replace(*change)) is None


def test_of_another_call_or_key_it_is_not_known() -> None:
    uri = uri_of(signed("<sip:2001@10.0.0.5:5062>"))
    assert read_target(KEY, "another", uri) is None
    assert read_target(b"x" * 32, "call", uri) is None


@pytest.mark.parametrize("contact", ["", "*", "<sip:a@b>, <sip:c@d>", "<tel:+4930>", "<sip:a@b@c>"])
def test_what_is_no_single_sip_uri_is_not_signed(contact: str) -> None:
    assert sign_contact(KEY, "call", contact, PHONE, "p") is None


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_taken(contact: str, uri: str) -> None:
    sign_contact(KEY, "call", contact, PHONE, "p")
    assert read_target(KEY, "call", uri) is None


def hop(contact: str, source: Source, kind: Kind, route: str = "") -> str:
    target = read_target(KEY, "call", uri_of(signed(contact, source, kind)))
    assert target is not None
    return next_hop(target, route)


def test_a_phone_is_reached_where_it_sends_from() -> None:
    where = "sip:192.0.2.7:40123;transport=tcp"
    for contact in ("<sip:x@198.51.100.1>", "<sip:x@192.0.2.7:40123;transport=tcp>"):
        assert hop(contact, PHONE, "p") == where
        assert hop(contact, PHONE, "p", "sip:198.51.100.1;lr") == where
    six = Source("2001:db8::1", 5060, "udp")
    assert hop("<sip:x@h>", six, "p") == "sip:[2001:db8::1]:5060;transport=udp"


def test_a_carrier_is_reached_by_its_contact_or_through_its_own_proxy() -> None:
    # Public addresses that nobody has here: a carrier's tell of no NAT.
    sbc = Source("8.8.8.8", 5060, "udp")
    assert hop("<sip:x@8.8.4.4>", sbc, "t") == ""
    assert hop("<sip:x@gw.example>", sbc, "t", "sip:8.8.8.8:5070;lr") == "sip:8.8.8.8:5070;lr"
    assert hop("<sip:x@8.8.4.4>", sbc, "t", "sip:1.1.1.1;lr") == "sip:8.8.8.8:5060;transport=udp"
    assert hop("<sip:x@10.0.0.1>", sbc, "t") == "sip:8.8.8.8:5060;transport=udp"

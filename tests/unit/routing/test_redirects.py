"""Contacts of 3xx replies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.routing.redirects import MAX_CONTACTS, contacts


def here(host: str) -> bool:
    return host == "10.0.0.1"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("<sip:2003@sales.example>", (("2003", "sales.example"),)),
        ("sip:2003@sales.example;q=0.5", (("2003", "sales.example"),)),
        ('"Desk, of A" <sip:1@10.0.0.1:5060;transport=tcp>;q=0.1', (("1", ""),)),
        ("<tel:+4930-1>;q=1", (("+4930-1", ""),)),
        ("<sip:a@x>;q=0.1, <sip:b@x>;q=0.9, <sip:c@x>", (("c", "x"), ("b", "x"), ("a", "x"))),
        ("<sip:b:secret@[2001:db8::1]:5060>", (("b", "[2001:db8::1]"),)),
        ("<sip:host.only>", ()),
        ("*", ()),
        ("", ()),
        ("<mailto:a@b>", ()),
        ('"<sip:2003@sales.example', ()),
    ],
)
def test_contacts(header: str, found: tuple[tuple[str, str], ...]) -> None:
    assert contacts(header, here) == found


@given(st.text(max_size=300))
def test_anything_is_read(header: str) -> None:
    assert len(contacts(header, here)) <= MAX_CONTACTS


def test_a_long_header_takes_no_time() -> None:
    assert len(contacts("<sip:a@b>," * 100_000, here)) == MAX_CONTACTS
    assert contacts('"' * 100_000, here) == ()

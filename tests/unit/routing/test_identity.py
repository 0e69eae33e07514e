"""Who is shown to whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.routing import identity
from services.call_manager.routing.call import Caller, Dial
from services.core.configuration import Tenant, Trunk

SALES = Tenant(name="sales", domains=("sales.example",))
OTHER = Tenant(name="other", domains=("other.example",))
ALICE = Caller("sales", "2001", "", "+49301", 'Alice "A"')


@pytest.mark.parametrize(
    ("privacy", "user", "host", "hidden"),
    [
        ("", "2001", "x", False),
        ("none", "2001", "x", False),
        ("id", "2001", "x", True),
        ("critical; ID", "2001", "x", True),
        ("", "Anonymous", "x", True),
        ("", "a", "anonymous.invalid", True),
    ],
)
def test_is_private(privacy: str, user: str, host: str, hidden: bool) -> None:
    assert identity.is_private(privacy, user, host) == hidden


@pytest.mark.parametrize(
    ("header", "number"),
    [
        ('"A" <sip:+49301@x;user=phone>;tag=1', "+49301"),
        ("<tel:+49301;phone-context=x>", "+49301"),
        ("sip:1@x", "1"),
        ("nonsense", ""),
        ("", ""),
    ],
)
def test_number_in(header: str, number: str) -> None:
    assert identity.number_in(header) == number


@given(st.text(max_size=200))
def test_any_header_is_read(header: str) -> None:
    identity.trunk_caller(header, header, Trunk(name="t", host="h"), private=False)


def test_inside_a_tenant() -> None:
    shown = identity.to_phone(ALICE, SALES)
    assert shown.uri == ""
    assert shown.headers == ("P-Asserted-Identity: \"Alice 'A'\" <sip:2001@sales.example>\r\n",)


def test_another_tenant_sees_the_number_only() -> None:
    shown = identity.to_phone(ALICE, OTHER)
    assert shown.uri == "sip:+49301@other.example"
    assert "2001" not in "".join(shown.headers)


def test_an_anonymous_caller_is_nobody_to_phones_and_known_to_carriers() -> None:
    hidden = Caller("sales", "2001", "", "+49301", "Alice", True)
    assert "2001" not in repr(identity.to_phone(hidden, SALES))
    dial = Dial((("t", "1"),), "1", "+49301")
    shown = identity.to_trunk(hidden, dial, Trunk(name="t", host="h", strip_plus=True), "pbx")
    assert shown.uri == identity.ANONYMOUS
    assert shown.headers == ("P-Asserted-Identity: <sip:49301@pbx>\r\n", "Privacy: id\r\n")


def test_a_trunks_own_number_wins() -> None:
    dial = Dial((("t", "1"),), "1", "+49301")
    shown = identity.to_trunk(ALICE, dial, Trunk(name="t", host="h", caller_id="+49800"), "pbx")
    assert shown.uri == "sip:+49800@pbx"


@given(st.text(max_size=60))
def test_a_name_cannot_break_out(name: str) -> None:
    shown = identity.to_phone(Caller("sales", "1", "", "", name), SALES)
    (line,) = shown.headers
    assert line.count("\r\n") == 1
    assert line.count('"') in (0, 2)

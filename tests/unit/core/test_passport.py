"""What Call Managers and application servers tell each other, and who else cannot."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from services.core.passport import LIFETIME, MOST_HOPS, Passport, seal, unseal

KEY = bytes(range(32))
NOW = 1_800_000_000.0
TICKET = Passport(tenant="sales", kind="menu", target="main", caller="+4930555", hops=1)
VALUE = seal(KEY, "serve", "call-1", TICKET, NOW)


def test_it_says_what_was_sealed() -> None:
    found = unseal(KEY, "serve", "call-1", VALUE, NOW + 1)
    assert found is not None
    assert (found.tenant, found.target, found.caller) == ("sales", "main", "+4930555")
    assert found.until == NOW + LIFETIME


def test_it_is_good_for_one_call_one_purpose_one_key_and_a_minute() -> None:
    assert unseal(KEY, "serve", "call-2", VALUE, NOW) is None
    assert unseal(KEY, "onward", "call-1", VALUE, NOW) is None
    assert unseal(KEY[::-1], "serve", "call-1", VALUE, NOW) is None
    assert unseal(KEY, "serve", "call-1", VALUE, NOW + LIFETIME + 1) is None
    many = Passport(tenant="sales", kind="menu", target="main", hops=MOST_HOPS + 1)
    assert unseal(KEY, "serve", "c", seal(KEY, "serve", "c", many, NOW), NOW) is None


def test_nothing_of_it_can_be_changed() -> None:
    text, _, signature = VALUE.rpartition(".")
    other = base64.urlsafe_b64encode(base64.urlsafe_b64decode(text).replace(b"sales", b"other"))
    for value in (f"{other.decode()}.{signature}", f"{text}.", f".{signature}", text, "", "."):
        assert unseal(KEY, "serve", "call-1", value, NOW) is None


@given(st.text(max_size=200), st.text(max_size=20))
def test_any_text_is_refused(value: str, call_id: str) -> None:
    assert unseal(KEY, "serve", call_id, value, NOW) is None


@given(st.binary(max_size=60))
def test_what_is_sealed_with_the_key_may_still_be_anything(data: bytes) -> None:
    from services.core.passport import _sign  # pyright: ignore[reportPrivateUsage]

    text = base64.urlsafe_b64encode(data).decode()
    value = f"{text}.{_sign(KEY, 'serve', 'c', text)}"
    assert unseal(KEY, "serve", "c", value, NOW) is None

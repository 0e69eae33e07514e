"""A call as bytes, and which keys its server had not heard."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.passport import Passport
from services.ivr.call import State
from services.ivr.snapshot import FRESH, KEYS, VERSION, Snapshot, dump, load, unheard

PRESSED = st.text("0123456789*#", max_size=12)


def logged(keys: str, age: float = 1.0) -> list[tuple[str, float]]:
    return [(key, age) for key in keys]


def snapshot() -> Snapshot:
    ticket = Passport(tenant="acme", kind="menu", target="main")
    state = State(call="c", tenant="acme", language="en", position=2.5)
    return Snapshot(state=state, ticket=ticket, caller=b"{}", heard="12", tape="c:3")


def test_it_comes_back_as_it_was() -> None:
    assert load(dump(snapshot())) == snapshot()


@pytest.mark.parametrize("data", [b"", b"\x00", b"{}", dump(snapshot())[:-1], b"\x81\xa1\xff\x00"])
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no snapshot of a call"):
        load(data)


@given(st.binary(max_size=300))
def test_whatever_is_there_is_a_snapshot_or_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no snapshot|version"):
        load(data)


def test_another_version_is_refused() -> None:
    other = msgspec.structs.replace(snapshot(), version=VERSION + 1)
    with pytest.raises(ValueError, match=f"written by version {VERSION + 1}"):
        load(dump(other))


@pytest.mark.parametrize(
    ("heard", "since", "keys", "lost"),
    [
        ("", "", "12", "12"),
        ("12", "", "12", ""),
        ("12", "", "123", "3"),
        ("1", "", "11", "1"),
        ("12", "", "13", "3"),  # the log lacks a key
        ("2", "", "123", "3"),  # the server had lacked one
        ("12", "4", "1234", "3"),
        ("12", "45", "1234", "3"),  # the last one is not in the log yet
        ("12", "3", "12", ""),
        ("123", "", "13", ""),
        ("1" * KEYS, "", "1" * KEYS, ""),
        ("12" * (KEYS // 2), "", "2" + "12" * 30 + "345", "345"),
    ],
)
def test_keys_that_nobody_heard(heard: str, since: str, keys: str, lost: str) -> None:
    assert unheard(heard, since, logged(keys)) == lost


def test_old_keys_are_not_meant_any_more() -> None:
    assert unheard("", "", [("1", FRESH + 1), ("2", FRESH - 1)]) == "2"


@given(PRESSED, PRESSED)
def test_a_whole_log_tells_exactly(heard: str, lost: str) -> None:
    assert unheard(heard, "", logged(heard + lost)) == lost


@given(PRESSED, PRESSED, PRESSED)
def test_whatever_is_lacking(heard: str, since: str, keys: str) -> None:
    assert unheard(heard, since, logged(keys)) in keys
    assert unheard(heard, "", []) == ""

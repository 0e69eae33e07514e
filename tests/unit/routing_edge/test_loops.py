"""loops.py: loops are found, spirals pass, breadth is shared (RFC 5393)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.routing import loops
from services.call_manager.routing.loops import Route

marks = loops.Marks(b"k" * 32)
ROUTE = Route("sip:1001@a", "call", "from", "", "1")


def via(mark: str) -> str:
    return f"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx;{loops.PARAMETER}={mark},SIP/2.0/UDP 192.0.2.2"


def test_a_request_that_comes_back_unchanged_loops() -> None:
    mark = marks.make(ROUTE)
    assert loops.is_loop(via(mark), marks.make(ROUTE))
    assert not loops.is_loop("SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKx", mark)


@pytest.mark.parametrize(
    "other",
    [
        Route("sip:1002@a", "call", "from", "", "1"),
        Route("sip:1001@a", "call2", "from", "", "1"),
        Route("sip:1001@a", "call", "from2", "", "1"),
        Route("sip:1001@a", "call", "from", "to", "1"),
        Route("sip:1001@a", "call", "from", "", "2"),
        Route("sip:1001@a", "call", "from", "", "1", ("<sip:x;lr>",)),
        Route("sip:1001@a", "call", "from", "", "1", (), "foo"),
        Route("sip:1001@a", "call", "from", "", "1", (), "", "Digest"),
    ],
)
def test_a_spiral_passes(other: Route) -> None:
    assert not loops.is_loop(via(marks.make(ROUTE)), marks.make(other))


def test_another_cluster_cannot_mark() -> None:
    assert loops.Marks(b"x" * 32).make(ROUTE) != marks.make(ROUTE)


@pytest.mark.parametrize(
    ("value", "breadth"),
    [("", 60), ("10", 10), (" 5 ", 5), ("0", 0), ("-1", 60), ("x", 60), ("9" * 50, 60), ("٣", 60)],
)
def test_breadth(value: str, breadth: int) -> None:
    assert loops.breadth(value) == breadth


@given(st.integers(1, 60), st.integers(1, loops.MAX_BRANCHES))
def test_shares_never_add_up_to_more(available: int, branches: int) -> None:
    if not loops.is_too_broad(available, branches):
        assert loops.share(available) >= 1
        assert loops.share(available) * branches <= available


def test_nothing_left_is_too_broad_for_one() -> None:
    assert loops.is_too_broad(0, 1)
    assert not loops.is_too_broad(1, 1)

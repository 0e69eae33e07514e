"""Everybody names the same successor, and only the dead one's calls change hands."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.core.succession.shares import order, successor

calls = st.text(max_size=40)
names = st.sets(st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True), min_size=1, max_size=8)


@given(calls, names, st.randoms())
def test_the_order_in_which_servers_are_known_does_not_matter(
    call: str, servers: set[str], random: object
) -> None:
    shuffled = sorted(servers, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert order(call, shuffled) == order(call, servers)
    assert successor(call, shuffled) == order(call, servers)[0]


@given(calls, names, st.data())
def test_who_goes_moves_only_its_own_calls(
    call: str, servers: set[str], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(sorted(servers)))
    before = order(call, servers)
    assert order(call, servers - {gone}) == [server for server in before if server != gone]


def test_nobody_follows_where_nobody_is() -> None:
    assert successor("a", ()) is None


def test_a_call_id_of_any_bytes_has_a_successor() -> None:
    assert successor(b"\xff\xfe".decode("utf-8", "surrogateescape"), ["ivr1"]) == "ivr1"


def test_shares_are_equal() -> None:
    servers = [f"ivr{number}" for number in range(1, 6)]
    shares = Counter(successor(f"{number}@10.0.0.1", servers) for number in range(10_000))
    assert min(shares.values()) > 1800
    assert max(shares.values()) < 2200


def test_routing_can_import_it_alone() -> None:
    """Kamailio's workers have no event loop and want none."""
    script = (
        "import sys, services.core.succession.shares;"
        "print([m for m in ('trio', 'coredis', 'msgspec') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

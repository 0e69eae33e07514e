"""A lease is what enough managers granted, counted from the holder's own stamp."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.core.failover.lease import ANY, Lease
from services.core.failover.timing import LEASE, REFUSED


def test_it_counts_from_the_stamp_and_not_from_the_ack() -> None:
    lease = Lease(("cm2", "cm3"), needed=1)
    lease.ack("cm2", 10.0, ("s",), ("s",))
    assert lease.until("s") == 10.0 + LEASE


def test_a_late_copy_makes_it_no_longer() -> None:
    lease = Lease(("cm2", "cm3"), needed=1)
    lease.ack("cm2", 10.0, ("s",), ("s",))
    lease.ack("cm2", 9.0, ("s",), ("s",))
    assert lease.until("s") == 10.0 + LEASE


def test_a_server_that_is_no_manager_needs_two() -> None:
    lease = Lease(("cm1", "cm2", "cm3"), needed=2)
    lease.ack("cm1", 10.0, ("s",), ("s",))
    assert lease.until("s") == float("-inf")
    lease.ack("cm3", 9.9, ("s",), ("s",))
    assert lease.until("s") == 9.9 + LEASE


def test_strangers_grant_nothing() -> None:
    lease = Lease(("cm2",), needed=1)
    lease.ack("cm9", 10.0, ("s",), ("s",))
    assert lease.until("s") == float("-inf")


def test_who_is_alone_holds_for_ever() -> None:
    assert Lease((), needed=0).until("s") == float("inf")


def test_being_probed_is_known_whatever_is_granted() -> None:
    lease = Lease(("cm2",), needed=1)
    lease.ack("cm2", 10.0, (), ("s",))
    assert lease.until(ANY) == 10.0 + LEASE
    assert lease.until("s") == float("-inf")


def test_a_refusal_counts_once_it_has_lasted() -> None:
    lease = Lease(("cm2", "cm3"), needed=1)
    lease.ack("cm2", 10.0, (), ("s",))
    assert not lease.refused("s", 10.0 + REFUSED / 2)
    assert lease.refused("s", 10.0 + REFUSED)
    lease.ack("cm2", 11.5, ("s",), ("s",))
    assert not lease.refused("s", 20.0)


def test_what_is_claimed_no_more_is_forgotten() -> None:
    lease = Lease(("cm2",), needed=1)
    lease.ack("cm2", 10.0, ("s",), ("s",))
    lease.forget(("t",))
    assert lease.until("s") == float("-inf")


@given(
    st.lists(st.tuples(st.sampled_from(["cm1", "cm2", "cm3"]), st.floats(0, 100)), max_size=20),
    st.integers(1, 3),
)
def test_at_its_end_fewer_than_enough_grants_last(
    acks: list[tuple[str, float]], needed: int
) -> None:
    lease = Lease(("cm1", "cm2", "cm3"), needed)
    for manager, stamp in acks:
        lease.ack(manager, stamp, ("s",), ("s",))
    until = lease.until("s")
    last = {name: max(t for m, t in acks if m == name) + LEASE for name, _ in acks}
    if len(last) < needed:
        assert until == float("-inf")
    else:
        assert sum(end >= until for end in last.values()) >= needed
        assert sum(end > until for end in last.values()) < needed

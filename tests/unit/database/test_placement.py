"""The primary goes with the VIP, and never in the way of a failover."""

from __future__ import annotations

import msgspec
import pytest

from services.database.placement import (
    AGAIN,
    SETTLED,
    Member,
    Members,
    Placement,
    promises,
)

LEADER = Member(name="cm1", role="leader", state="running", timeline=3)
MINE = Member(name="cm2", role="sync_standby", state="streaming", timeline=3, lag=0)
FOUND = Members(members=(LEADER, MINE))
STAYED = Placement().after("cm2", "cm1", 0.0)


def test_where_the_vip_has_stayed() -> None:
    assert not STAYED.wants("cm2", FOUND, SETTLED - 0.1)
    assert STAYED.wants("cm2", FOUND, SETTLED)


def test_only_the_vips_holder_asks_and_only_if_it_is_not_there_already() -> None:
    assert not STAYED.wants("cm3", FOUND, SETTLED)
    assert not Placement().after("cm2", "cm2", 0.0).wants("cm2", FOUND, SETTLED)


@pytest.mark.parametrize(
    ("vip", "leader"), [("cm3", "cm1"), ("cm2", "cm3"), ("cm2", ""), ("", "cm1")]
)
def test_a_change_starts_the_wait_anew(vip: str, leader: str) -> None:
    moved = STAYED.after(vip, leader, 5.0).after("cm2", "cm1", 6.0)
    assert not moved.wants("cm2", FOUND, SETTLED)
    assert moved.wants("cm2", FOUND, 6.0 + SETTLED)


@pytest.mark.parametrize(
    "change",
    [
        {"role": "replica"},
        {"state": "starting"},
        {"lag": 1},
        {"lag": None},
        {"timeline": 2},
    ],
)
def test_not_while_this_one_is_behind(change: dict[str, object]) -> None:
    behind = Members(members=(LEADER, msgspec.structs.replace(MINE, **change)))
    assert not STAYED.wants("cm2", behind, SETTLED)


def test_not_while_the_cluster_is_busy_or_its_primary_is_not_well() -> None:
    assert not STAYED.wants("cm2", Members(members=FOUND.members, busy=True), SETTLED)
    ill = msgspec.structs.replace(LEADER, state="stopped")
    assert not STAYED.wants("cm2", Members(members=(ill, MINE)), SETTLED)
    assert not STAYED.wants("cm2", Members(members=(MINE,)), SETTLED)


@pytest.mark.parametrize(
    ("leader", "standbys", "waits", "replaced"),
    [
        ("cm1", "cm2,cm3", False, True),
        ("cm1", "cm2,cm3", True, False),
        ("cm1", None, False, False),
        ("cm2", "cm1,cm3", False, False),  # the key is not yet ours
    ],
)
def test_who_is_not_waited_for_may_not_take_over(
    leader: str, standbys: str | None, waits: bool, replaced: bool
) -> None:
    key = msgspec.json.encode({"leader": leader, "sync_standby": standbys})
    found = promises(key, "cm1", waits=waits)
    assert (found is not None) == replaced
    if found is not None:
        assert msgspec.json.decode(found) == {"leader": "cm1", "sync_standby": None}


def test_one_that_failed_is_tried_again_much_later() -> None:
    asked = STAYED.asking(SETTLED)
    assert not asked.wants("cm2", FOUND, SETTLED + AGAIN - 1)
    assert asked.wants("cm2", FOUND, SETTLED + AGAIN)

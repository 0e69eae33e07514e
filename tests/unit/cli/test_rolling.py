"""In which order jobs are replaced, and when not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbxctl.deployment import Job
from pbxctl.registry_client import Service
from pbxctl.rolling import first_start, in_the_way, must_hand_over, next_job, worth_waiting


def job(role: str, server: str) -> Job:
    return Job(id=f"a-{role}-{server}", role=role, server=server, variables={})


def service(role: str, server: str, status: str = "passing") -> Service:
    return Service(
        id=f"a-{role}-{server}",
        role=role,
        server=server,
        release="1",
        status=status,
        check="",
        admin="",
        capacity=0,
        meta={},
    )


MANAGERS = [job(r, f"cm{n}") for n in (1, 2, 3) for r in ("call-manager", "database", "live")]
ALL = [*MANAGERS, job("ivr", "app1"), job("media", "m1"), job("media", "m2")]


def order(jobs: list[Job], holder: str) -> list[str]:
    left, found = list(jobs), []
    while left:
        left.remove(now := next_job(left, holder))
        found.append(f"{now.role}/{now.server}")
    return found


def test_media_first_then_one_manager_after_the_other_and_the_holder_last() -> None:
    assert order(ALL, "cm1") == [
        *("media/m1", "media/m2", "ivr/app1"),
        *("live/cm2", "database/cm2", "call-manager/cm2"),
        *("live/cm3", "database/cm3", "call-manager/cm3"),
        *("live/cm1", "database/cm1", "call-manager/cm1"),
    ]


@given(st.permutations(ALL), st.sampled_from(["", "cm1", "cm2", "cm3", "gone"]))
def test_every_job_once_and_the_holder_s_after_all_others(jobs: list[Job], holder: str) -> None:
    found = order(jobs, holder)
    assert sorted(found) == sorted(f"{each.role}/{each.server}" for each in ALL)
    if holder.startswith("cm"):
        assert {each.partition("/")[2] for each in found[-3:]} == {holder}


def test_the_vip_is_handed_over_before_its_server_is_touched() -> None:
    assert must_hand_over(job("database", "cm1"), "cm1", ALL)
    assert not must_hand_over(job("call-manager", "cm2"), "cm1", ALL)
    assert not must_hand_over(job("media", "m1"), "cm1", ALL)
    alone = [job("call-manager", "cm1")]
    assert not must_hand_over(alone[0], "cm1", alone)


def test_a_majority_stays() -> None:
    every = [service("call-manager", f"cm{n}") for n in (1, 2, 3)]
    assert in_the_way(job("call-manager", "cm1"), ALL, every) == ""
    ill = [every[0], service("call-manager", "cm2", "critical"), every[2]]
    assert "call-manager on cm2 is not well" in in_the_way(job("call-manager", "cm1"), ALL, ill)
    # The one that is ill itself takes nothing away.
    assert in_the_way(job("call-manager", "cm2"), ALL, ill) == ""
    assert in_the_way(job("media", "m1"), ALL, []) == ""


def test_what_others_wait_for_starts_first() -> None:
    roles = [each.role for each in first_start([job("call-manager", "x"), *ALL])]
    assert roles[:3] == ["database"] * 3
    assert roles[-2:] == ["call-manager", "ivr"]


@pytest.mark.parametrize(
    ("views", "waits"),
    [
        ([], False),
        ([{"m1": "up", "m2": "up"}], False),
        ([{"m1": "up", "m2": "down"}], True),
        ([{"m1": "up", "m2": "up"}, {"m1": "up", "m2": "down"}], True),
        ([{"m1": "up", "m2": "down", "m3": "up"}], False),
        ([{"m1": "draining", "m2": "up"}], False),
        ([{"m1": "up", "m2": "disabled"}], False),
        ([{"m1": "up"}], False),
    ],
)
def test_a_media_server_is_emptied_when_another_takes_calls_or_none_will(
    views: list[dict[str, str]], *, waits: bool
) -> None:
    assert worth_waiting("m1", views) is waits

"""Which logs are meant, and what is new in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbxctl.commands.failure import CommandError
from pbxctl.commands.logs import added, select
from pbxctl.engines.engine import JobStatus, TaskStatus


def job(role: str, server: str, *tasks: str) -> JobStatus:
    return JobStatus(
        id=f"a-{role}-{server}",
        cluster="a",
        role=role,
        server=server,
        release="1",
        fingerprint="",
        state="running",
        tasks=tuple(TaskStatus(name=task, state="running") for task in tasks),
    )


JOBS = (job("call-manager", "h1", "agent", "kamailio"), job("media", "h1", "agent"))


def test_a_server_is_all_its_jobs() -> None:
    assert select(JOBS, "h1", None) == [
        ("a-call-manager-h1", "agent"),
        ("a-call-manager-h1", "kamailio"),
        ("a-media-h1", "agent"),
    ]
    assert select(JOBS, "a-media-h1", None) == [("a-media-h1", "agent")]
    assert select(JOBS, "h1", "kamailio") == [("a-call-manager-h1", "kamailio")]


def test_unknown_names_are_answered_with_the_known() -> None:
    with pytest.raises(CommandError, match="no server or job is named h2; there are a-call"):
        select(JOBS, "h2", None)
    with pytest.raises(CommandError, match="h1 has no task x; it has agent, kamailio"):
        select(JOBS, "h1", "x")


@given(st.lists(st.integers(), unique=True, max_size=30), st.data())
def test_added_is_what_came_after(log: list[int], data: st.DataObject) -> None:
    text = [str(each) for each in log]
    known = data.draw(st.integers(0, len(text)))
    window = data.draw(st.integers(len(text) - known, len(text)))
    before = text[:known]
    now = text[len(text) - window :]
    expected = text[known:] if set(before) & set(now) else now
    assert added(before, now) == expected

"""What status says of each role of each server."""

from __future__ import annotations

import msgspec

from pbxctl.calls import Trunk
from pbxctl.commands.status import assemble, lines
from pbxctl.commands.status_table import cells, rows
from pbxctl.engines.engine import JobStatus, TaskStatus
from pbxctl.observe import Picture
from pbxctl.registry_client import Service
from services.core.configuration import Switch


def job(role: str, server: str, *tasks: TaskStatus, state: str = "running") -> JobStatus:
    return JobStatus(
        id=f"a-{role}-{server}",
        cluster="a",
        role=role,
        server=server,
        release="1",
        fingerprint="",
        state=state,  # type: ignore[arg-type]  # a plain str in the tests' tables
        tasks=tasks or (TaskStatus(name="agent", state="running", since=40.0),),
    )


def service(role: str, server: str, status: str = "passing", check: str = "RTP echo") -> Service:
    return Service(
        id=f"a-{role}-{server}",
        role=role,
        server=server,
        release="1",
        status=status,
        check=check,
        admin="",
        capacity=2500,
        meta={},
    )


def test_states() -> None:
    failing = TaskStatus(name="agent", state="restarting", exit=1, restarts=4)
    killed = TaskStatus(name="agent", state="dead", exit=-9)
    found = rows(
        [
            job("media", "m1"),
            job("media", "m2"),
            job("media", "m3"),
            job("media", "m4", failing, state="restarting"),
            job("media", "m5", killed, state="dead"),
            job("media", "m6"),
        ],
        [
            service("media", "m1"),
            service("media", "m2", "critical", "no RTP echo in 0.8 s"),
            service("media", "m6"),
            service("media", "m7"),
        ],
        {("m6", "media"): Switch(state="disabled", reason="new NIC", by="anna", since=40.0)},
        {("m1", "media"): 205},
    )
    assert [cells(row, 100.0)[2:] for row in found] == [
        ("up", "205/2500", "RTP echo", "1 min"),
        ("down", "0/2500", "no RTP echo in 0.8 s", "1 min"),
        ("starting", "-", "-", "1 min"),
        ("restarting", "-", "agent exit 1", "-"),
        ("dead", "-", "agent signal 9", "-"),
        ("disabled", "0/2500", 'by anna "new NIC"', "1 min"),
        ("warning", "-", "registered, but no job runs it: RTP echo", "-"),
    ]


def test_a_disabled_server_that_is_down_is_down() -> None:
    found = rows(
        [job("media", "m1")],
        [service("media", "m1", "critical", "gone")],
        {("m1", "media"): Switch(state="disabled")},
        {},
    )
    assert found[0].state == "down"


def test_with_no_media_server_left_in_service_nothing_is_healthy() -> None:
    off = Switch(state="disabled", by="anna")
    picture = Picture(
        cluster="a",
        engine_runs=True,
        jobs=(job("media", "m1"), job("media", "m2")),
        services=(service("media", "m1"), service("media", "m2")),
        switches={("m1", "media"): off},
    )
    assert assemble(picture, {}, 0, 0, ()).healthy
    all_off = {("m1", "media"): off, ("m2", "media"): Switch(state="draining")}
    report = assemble(msgspec.structs.replace(picture, switches=all_off), {}, 0, 0, ())
    assert not report.healthy
    assert report.problems == (
        "no media server takes calls: disabled and draining by an administrator",
    )


def test_a_trunk_in_trouble_is_a_note() -> None:
    picture = Picture(
        cluster="a",
        engine_runs=True,
        jobs=(job("media", "m1"),),
        services=(service("media", "m1"),),
    )
    trunks = (
        Trunk(name="good", registration="registered", options=200, server="cm1"),
        Trunk(
            name="carrier",
            registration="registering",
            options_problem="Connection refused",
            server="cm1",
        ),
    )
    report = msgspec.structs.replace(assemble(picture, {}, 0, 0, ()), trunks=trunks)
    assert report.healthy
    assert [line.plain for line in lines(report, 100.0, 80)][3:] == [
        "trunk carrier: not registered; OPTIONS: Connection refused"
    ]


def test_an_engine_that_died_is_a_problem_and_the_servers_are_shown() -> None:
    picture = Picture(
        cluster="a",
        engine_runs=False,
        jobs=(job("media", "m1"),),
        services=(service("media", "m1"),),
        problems=("the engine of a does not run",),
    )
    report = assemble(picture, {}, 2, 5, picture.problems)
    assert not report.healthy
    assert lines(report, 100.0, 80)[0].plain == "a · 2 calls · 5 registered"
    assert lines(report, 100.0, 80)[-1].plain == "the engine of a does not run"


def test_healthy_only_if_all_is_up() -> None:
    picture = Picture(
        cluster="a",
        engine_runs=True,
        jobs=(job("media", "m1"),),
        services=(service("media", "m1"),),
    )
    report = assemble(picture, {}, 3, 1200, ())
    assert report.healthy
    assert lines(report, 100.0, 80)[0].plain == "a · 3 calls · 1,200 registered"
    assert not assemble(picture, {}, None, None, ("no answer",)).healthy
    assert not assemble(Picture(cluster="a", engine_runs=True), {}, None, None, ()).healthy
    off = assemble(Picture(cluster="a", engine_runs=False), {}, None, None, ())
    assert lines(off, 0.0, 80)[0].plain == "a does not run; start it with pbxctl apply"

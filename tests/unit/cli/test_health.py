"""When is a deployment healthy and in force."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pbxctl.admin_client import InForce
from pbxctl.deployment import Job
from pbxctl.engines.engine import JobStatus, TaskStatus
from pbxctl.health import Seen, judge
from pbxctl.progress import lines
from pbxctl.registry_client import Service

JOBS = (
    Job(id="a-call-manager-cm1", role="call-manager", server="cm1", variables={}),
    Job(id="a-media-m1", role="media", server="m1", variables={}),
)
PRINTS = {"a-call-manager-cm1": "f1", "a-media-m1": "f2"}
MANIFEST = "d" * 64


def running(job: Job, **other: Any) -> JobStatus:
    fields: dict[str, Any] = {
        "id": job.id,
        "cluster": "a",
        "role": job.role,
        "server": job.server,
        "release": "1",
        "fingerprint": PRINTS[job.id],
        "state": "running",
        "tasks": (TaskStatus(name="agent", state="running", pid=1),),
    }
    return JobStatus(**{**fields, **other})


def service(job: Job, **other: Any) -> Service:
    fields: dict[str, Any] = {
        "id": job.id,
        "role": job.role,
        "server": job.server,
        "release": "1",
        "status": "passing",
        "check": "fine",
        "admin": "http://127.0.0.1:1",
        "capacity": 10,
        "meta": {},
    }
    return Service(**{**fields, **other})


WELL = Seen(
    jobs={job.id: running(job) for job in JOBS},
    services={job.id: service(job) for job in JOBS},
    answering=frozenset(PRINTS),
    in_force={"a-call-manager-cm1": InForce(manifest=MANIFEST)},
)


def test_all_well_is_done() -> None:
    verdict = judge(JOBS, PRINTS, WELL, MANIFEST)
    assert verdict.done
    assert lines(verdict.roles, drawn=False) == [
        "  call-manager  1/1 healthy",
        "  media         1/1 healthy",
    ]


CM, MEDIA = JOBS


@pytest.mark.parametrize(
    ("change", "job", "lacks"),
    [
        ({"jobs": {}}, MEDIA, "not started"),
        (
            {"jobs": {MEDIA.id: running(MEDIA, fingerprint="old")}},
            MEDIA,
            "still runs with its settings from before",
        ),
        (
            {
                "jobs": {
                    MEDIA.id: running(
                        MEDIA,
                        state="restarting",
                        tasks=(TaskStatus(name="agent", state="restarting", exit=1, restarts=3),),
                    )
                }
            },
            MEDIA,
            "agent exit 1, restarted 3 times",
        ),
        ({"services": {}}, MEDIA, "starting"),
        (
            {"services": {MEDIA.id: service(MEDIA, status="critical", check="no RTP echo")}},
            MEDIA,
            "no RTP echo",
        ),
        ({"answering": frozenset()}, MEDIA, "starting"),
        ({"in_force": {}}, CM, "does not say what configuration it has"),
        ({"in_force": {CM.id: InForce(manifest="old")}}, CM, "reads the configuration"),
        (
            {"in_force": {CM.id: InForce(manifest="old", problems=["routes: digest differs"])}},
            CM,
            "routes: digest differs",
        ),
    ],
)
def test_what_is_lacking_is_said(change: dict[str, Any], job: Job, lacks: str) -> None:
    verdict = judge(JOBS, PRINTS, msgspec.structs.replace(WELL, **change), MANIFEST)
    assert not verdict.done
    assert verdict.waiting[job.id] == lacks


def test_configuration_is_not_waited_for_before_it_is_written() -> None:
    seen = msgspec.structs.replace(WELL, in_force={CM.id: InForce(manifest="old")})
    assert judge(JOBS, PRINTS, seen, None).done

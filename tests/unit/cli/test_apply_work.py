"""What apply does, what it says when it did not finish, and how a plan reads."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pbxctl.apply import Work, manifest_of, ndjson, work
from pbxctl.commands.plan_view import lines, totals
from pbxctl.compile import Installation, compile_spec, manifest
from pbxctl.deployment import Deployment, Directory
from pbxctl.engines.engine import JobStatus
from pbxctl.plan import Plan, Running, make_plan
from pbxctl.spec import load_bytes
from pbxctl.standing import UNKNOWN, standing
from services.core import configuration
from services.core.configuration import User

SPEC = """\
cluster: acme
network: {vip: 127.0.0.1}
servers:
  - {name: pbx1, address: 127.0.0.1, roles: [call-manager, media], capacity: {calls: 50}}
SECOND
tenants:
  - {name: sales, domains: [sales.example]}
"""
SECOND = "  - {name: media2, address: 127.0.0.2, roles: [media], capacity: {calls: 50}}"


def deployment(*, second: bool = False) -> Deployment:
    text = SPEC.replace("SECOND", SECOND if second else "")
    loaded = load_bytes("acme.yaml", text.encode(), Path(), {})
    where = Installation(prefix=Path("/p"), state_dir=Path("/s"), release="1.0.0")
    return compile_spec(loaded.spec, where)


def prints(wanted: Deployment) -> dict[str, str]:
    return {job.id: str(job.variables["spec_hash"]) for job in wanted.jobs}


def running(now: Deployment) -> Running:
    jobs = tuple(
        JobStatus(
            id=job.id,
            cluster=now.cluster,
            role=job.role,
            server=job.server,
            release=now.release,
            fingerprint=prints(now)[job.id],
            state="running",
            tasks=(),
        )
        for job in now.jobs
    )
    return Running(
        jobs=jobs,
        manifest=manifest(now),
        documents=now.documents,
        directories={each.tenant: each.digest for each in now.directories},
    )


def plan(wanted: Deployment, now: Running) -> Plan:
    return make_plan(wanted, now, prints(wanted))


def test_all_of_it_where_nothing_runs() -> None:
    wanted = deployment()
    todo = work(wanted, Running(), prints(wanted))
    assert todo.new == wanted.jobs
    assert todo.write == wanted.documents
    assert todo.manifest == manifest_of(wanted)
    assert (todo.changed, todo.leaving, todo.delete) == ((), (), ())


def test_nothing_where_it_runs() -> None:
    wanted = deployment()
    todo = work(wanted, running(wanted), prints(wanted))
    nothing = Work(new=(), changed=(), set_back=(), leaving=(), write={}, delete=(), manifest=None)
    assert todo == nothing


def test_a_server_comes_and_goes_alone() -> None:
    one, two = deployment(), deployment(second=True)
    come = work(two, running(one), prints(two))
    assert [job.id for job in come.new] == ["acme-media-media2"]
    assert not come.changed
    go = work(one, running(two), prints(one))
    assert go.leaving == ("acme-media-media2",)
    assert (go.new, go.changed) == ((), ())


def test_documents_that_were_written_without_their_manifest_get_it() -> None:
    wanted = deployment()
    now = msgspec.structs.replace(running(wanted), manifest=None)
    todo = work(wanted, now, prints(wanted))
    assert not todo.write
    assert todo.manifest == manifest_of(wanted)


def test_documents_nobody_names_go() -> None:
    wanted = deployment()
    now = running(wanted)
    now = msgspec.structs.replace(now, documents={**now.documents, "tenants/old": b"{}"})
    assert work(wanted, now, prints(wanted)).delete == ("tenants/old",)


def test_where_it_stands_after_a_job_that_never_got_healthy() -> None:
    one, two = deployment(), deployment(second=True)
    before = plan(two, running(one))
    after = plan(two, running(two))
    stands = standing(two, before, after, {"acme-media-media2": "no RTP echo in 0.8 s"})
    assert stands.not_in_force == (
        "media on media2: started, but no RTP echo in 0.8 s; see pbxctl logs media2",
        "media: count 1 → 2 (begun)",
    )
    assert stands.in_force == ()


def test_configuration_that_no_call_manager_took_is_not_in_force() -> None:
    wanted = deployment()
    before, after = plan(wanted, Running()), plan(wanted, running(wanted))
    assert after.empty
    stands = standing(wanted, before, after, {"acme-call-manager-pbx1": "reads the configuration"})
    assert stands.in_force == ()
    assert any("sales" in line and "not yet in force" in line for line in stands.not_in_force)
    assert any("call-manager on pbx1" in line for line in stands.not_in_force)


def test_nothing_done_yet() -> None:
    wanted = deployment()
    before = plan(wanted, Running())
    stands = standing(wanted, before, before, {})
    assert stands.in_force == ()
    assert len(stands.not_in_force) == len(before.changes)
    assert "nothing of this plan" in "\n".join(stands.lines())
    assert "cannot be said" in "\n".join(UNKNOWN.lines())


def test_a_plan_reads_in_columns() -> None:
    one, two = deployment(), deployment(second=True)
    found = plan(two, running(one))
    assert [text for _, text in lines(found)] == [
        "  + media2  new server: joins media",
        "  ~ media   count 1 → 2              no restart of pbx1",
    ]
    assert totals(found) == "1 to add, 1 to change, 0 to remove"


@pytest.mark.parametrize("count", [0, 1, 5000])
async def test_users_go_as_one_json_object_a_line(count: int) -> None:
    users = tuple(User(tenant="sales", extension=str(10000 + n)) for n in range(count))
    directory = Directory(tenant="sales", users=users, digest="d")
    chunks = [chunk async for chunk in ndjson(directory)]
    assert all(len(chunk) < 70_000 for chunk in chunks)
    sent = b"".join(chunks).splitlines()
    assert tuple(configuration.decode(line, User) for line in sent) == users

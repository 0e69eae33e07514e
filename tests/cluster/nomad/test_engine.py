"""The Nomad engine on a real Nomad and a real Consul."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from pbxctl.engines.engine import EngineError
from pbxctl.engines.nomad import read_note
from pbxctl.registry_client import RegistryClient
from tests.cluster.lab import until
from tests.cluster.nomad.bench import CLUSTER, JOB, Bench

# What httpx had begun to send when the connection was lost is collected with a warning of trio's.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")


async def test_a_job_from_its_registration_to_its_end(bench: Bench) -> None:
    job = bench.job()
    await bench.engine.start()
    note = read_note(bench.state)
    assert note is not None
    assert (note.engine, note.nomad) == ("nomad", bench.nomad)
    await bench.engine.register(job)
    found = await bench.running(job)
    assert (found.cluster, found.role, found.server, found.release) == (
        *(CLUSTER, "one", "cm1"),
        "1.0.0",
    )
    tasks = {task.name: task for task in found.tasks}
    assert (tasks["first"].state, tasks["first"].exit) == ("dead", 0)
    assert tasks["main"].state == "running"
    assert found.variables["script"] == job.variables["script"]
    await until("its output", lambda: _logs(bench, "begun\ntrouble\n"), within=120)
    await bench.engine.deregister(job.id)
    assert await bench.engine.jobs(CLUSTER) == ()


async def _logs(bench: Bench, text: str) -> bool:
    return await bench.engine.logs(bench.job().id, "main", lines=5) == text


async def test_the_same_again_changes_nothing(bench: Bench) -> None:
    job = bench.job()
    await bench.engine.register(job)
    await bench.running(job)
    before = await bench.registered(job.id)
    await bench.engine.register(job)
    after = await bench.registered(job.id)
    assert after["Version"] == before["Version"]
    assert await bench.engine.drift([job]) == {}


async def test_a_changed_job_replaces_the_one_before(bench: Bench) -> None:
    old, new = bench.job(), bench.job(release="1.1.0")
    await bench.engine.register(old)
    await bench.running(old)
    await bench.engine.register(new)
    assert (await bench.running(new)).release == "1.1.0"


async def test_a_job_of_nobody_s_is_left_alone(bench: Bench) -> None:
    job = bench.job()
    text = JOB.replace("meta {", 'meta {\n    owner = "web"').replace("cluster = var.cluster", "")
    await _by_hand(bench, text, job.variables)
    before = await bench.registered(job.id)
    with pytest.raises(EngineError, match="belongs to nobody that pbxctl knows"):
        await bench.engine.register(job)
    with pytest.raises(EngineError, match="nomad job stop -purge acme-one-cm1"):
        await bench.engine.deregister(job.id)
    await bench.engine.destroy()
    assert (await bench.registered(job.id))["JobModifyIndex"] == before["JobModifyIndex"]
    assert await bench.engine.jobs(CLUSTER) == ()


async def test_another_cluster_s_job_is_left_alone(bench: Bench) -> None:
    """Even one whose name begins like ours."""
    theirs = bench.job(cluster="acme-one")
    await bench.another("acme-one").register(theirs)
    assert await bench.engine.jobs(CLUSTER) == ()
    with pytest.raises(EngineError, match="belongs to cluster acme-one"):
        await bench.engine.deregister(theirs.id)


async def test_what_was_changed_behind_our_back_is_shown_and_set_back(bench: Bench) -> None:
    job = bench.job()
    await bench.engine.register(job)
    await bench.running(job)

    def fewer(whole: Any) -> None:
        whole["TaskGroups"][0]["RestartPolicy"]["Attempts"] = 3

    await bench.edit(job.id, fewer)
    drift = (await bench.engine.drift([job]))[job.id]
    assert drift.text == "changed outside pbxctl: one.RestartPolicy.Attempts 10 → 3"
    assert not drift.restarts

    def longer(whole: Any) -> None:
        whole["TaskGroups"][0]["Tasks"][1]["KillTimeout"] = 9_000_000_000
        whole["TaskGroups"][0]["Tasks"][1]["Env"] = {"X": "1"}

    await bench.edit(job.id, longer)

    async def runs() -> bool:
        # Until Nomad has begun with what was changed, setting it back restarts nothing.
        return (await bench.engine.drift([job]))[job.id].restarts

    await until("what was changed to run", runs, within=60, why=bench.lab.logs)
    drift = (await bench.engine.drift([job]))[job.id]
    assert drift.restarts
    assert "changed outside pbxctl: one.RestartPolicy" in drift.text
    await bench.engine.register(job)
    assert await bench.engine.drift([job]) == {}


async def test_a_job_that_was_stopped_by_hand_says_so_and_starts_again(bench: Bench) -> None:
    job = bench.job()
    await bench.engine.register(job)
    await bench.running(job)
    await bench.api("DELETE", f"/v1/job/{job.id}")
    found = await bench.status(lambda status: status.state == "dead")
    assert (found.trouble, found.fingerprint) == ("stopped outside pbxctl", "")
    await bench.engine.register(job)
    await bench.running(job)


async def test_a_job_goes_back_to_what_it_was(bench: Bench) -> None:
    good, bad = bench.job(), bench.job(script="exit 3", release="1.1.0")
    await bench.engine.register(good)
    await bench.running(good)
    await bench.engine.register(bad)
    failing = await bench.status(lambda status: status.state == "restarting")
    main = next(task for task in failing.tasks if task.name == "main")
    assert main.exit == 3
    assert await bench.engine.put_back(bad.id, bench.engine.fingerprint(good))
    assert (await bench.running(good)).release == "1.0.0"
    assert await bench.engine.drift([good]) == {}
    assert not await bench.engine.put_back(bad.id, "0" * 64)


async def test_what_hinders_a_job_is_told(bench: Bench) -> None:
    nowhere = bench.job("media9")
    await bench.engine.register(nowhere)
    found = await bench.status(lambda status: bool(status.trouble), nowhere)
    assert (found.state, found.trouble) == ("pending", "no node named media9 has joined Nomad")
    broken = bench.job("media1")
    text = JOB.replace('command = "/bin/sh"', 'command = "/opt/none/bin/pbx-media"')
    (bench.files / "one.nomad.hcl").write_text(text)
    await bench.engine.register(broken)
    found = await bench.status(lambda status: "/opt/none/bin/pbx-media" in status.trouble, broken)
    assert found.trouble.startswith("main: ")


async def test_a_job_file_that_nomad_refuses(bench: Bench) -> None:
    (bench.files / "one.nomad.hcl").write_text(JOB.replace("attempts = 10", "atempts = 10"))
    with pytest.raises(EngineError, match=r"one\.nomad\.hcl: .*atempts"):
        await bench.engine.register(bench.job())


async def test_two_who_register_at_once_do_not_overwrite_each_other(bench: Bench) -> None:
    """The second has read before the first wrote."""
    job = bench.job()
    await bench.engine.register(job)
    slow = _Overtaken(bench)
    with pytest.raises(EngineError, match="changed in Nomad by somebody else"):
        await slow.register(bench.job(release="2.0.0"))
    assert (await bench.registered(job.id))["Meta"]["release"] == "1.5.0"


class _Overtaken:
    """An engine that another one overtakes between its reading and its writing."""

    def __init__(self, bench: Bench) -> None:
        self.engine = bench.another()
        ask = self.engine._registered

        async def asked(api: Any, job_id: str) -> Any:
            found = await ask(api, job_id)
            await bench.engine.register(bench.job(release="1.5.0"))
            return found

        self.engine._registered = asked  # type: ignore[method-assign]  # to come in between

    async def register(self, job: Any) -> None:
        await self.engine.register(job)


async def test_nomad_away_and_back_within_patience(bench: Bench) -> None:
    """Tasks outlive the agent, and a registration waits for its return."""
    job = bench.job()
    await bench.engine.register(job)
    await bench.running(job)
    bench.lab.nomad["cm1"].kill()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.another(patience=90).register, bench.job(release="1.1.0"))
        await trio.testing.wait_all_tasks_blocked()
        bench.lab.start_nomad("cm1")
    await bench.running(bench.job(release="1.1.0"))


async def test_nomad_away_is_said_with_what_to_look_at(bench: Bench) -> None:
    await bench.engine.register(bench.job())
    await bench.running()
    bench.lab.nomad["cm1"].kill()
    engine = bench.another(patience=0)
    try:
        with pytest.raises(EngineError, match=r"cannot be reached.*NOMAD_ADDR"):
            await engine.jobs(CLUSTER)
        with pytest.raises(EngineError, match="cannot be reached"):
            await engine.register(bench.job(release="1.1.0"))
    finally:
        bench.lab.start_nomad("cm1")
        await bench.lab.nomad_ready()
    assert (await bench.running()).release == "1.0.0"


async def test_destroy_removes_our_jobs_and_keys_and_nothing_else(bench: Bench) -> None:
    await bench.engine.start()
    await bench.engine.register(bench.job())
    await bench.engine.register(bench.job("media1"))
    await bench.running()
    theirs = bench.job(cluster="other")
    await bench.another("other").register(theirs)
    endpoints = await bench.engine.endpoints()
    with (
        RegistryClient.of(endpoints, CLUSTER) as ours,
        RegistryClient.of(endpoints, "other") as others,
    ):
        await ours.write("cluster", b"{}")
        await others.write("cluster", b"{}")
        await bench.engine.destroy()
        assert await ours.documents() == (None, {})
        assert (await others.documents())[1] == {"cluster": b"{}"}
    assert await bench.engine.jobs(CLUSTER) == ()
    assert (await bench.registered(theirs.id))["Status"] != "dead"
    assert read_note(bench.state) is None
    assert (bench.state / "secrets" / "admin_token").exists()


async def _by_hand(bench: Bench, text: str, variables: Any) -> None:
    """`nomad job run`, without pbxctl."""
    from pbxctl.engines.nomad.variables import var_file

    body = {"JobHCL": text, "Variables": var_file(variables)}
    whole = await bench.api("POST", "/v1/jobs/parse", body)
    await bench.api("PUT", "/v1/jobs", {"Job": whole})

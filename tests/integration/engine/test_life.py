"""A job's life: started, replaced, stopped; and an engine's, to the last file."""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Iterator

import pytest
import trio

from pbxctl.deployment import Job
from pbxctl.engines.engine import EngineError
from pbxctl.engines.local import JobFileError
from tests.integration.engine.conftest import PRESTART, Bench, free_port
from tests.support.waiting import eventually

SLEEP = "echo at work; exec sleep 1000"
LIBRARYS = 1 << 31 | 1 << 32
"""Signals 32 and 33 in a mask of /proc: the C library lets nobody change them (nptl(7))."""


async def test_prestart_comes_first_and_both_are_told_who_they_are(bench: Bench) -> None:
    job = bench.write(
        "two",
        ("first", PRESTART, "sleep 0.3; echo $NOMAD_META_SERVER > $NOMAD_ALLOC_DIR/data/made"),
        (
            "main",
            'env { WHO = "${NOMAD_TASK_NAME}" }',
            f"cat ../alloc/data/made; echo $WHO; {SLEEP}",
        ),
    )
    await bench.engine.start()
    assert await bench.engine.running()
    await bench.engine.register(job)
    status = await bench.job(job, lambda status: status.state == "running")
    assert (status.cluster, status.role, status.server, status.release) == (
        "test",
        "two",
        "s1",
        "1.0.0",
    )
    assert status.fingerprint == bench.engine.fingerprint(job)
    assert status.variables == job.variables
    first, main = status.tasks
    assert (first.state, first.exit, first.restarts) == ("dead", 0, 0)
    assert (main.state, main.restarts) == ("running", 0)
    assert main.pid is not None
    assert bench.processes("sleep\x001000") == [main.pid]
    assert await bench.engine.logs(job.id, "main", lines=10) == "s1\nmain\nat work\n"
    assert await bench.engine.logs(job.id, "main", lines=1) == "at work\n"
    assert [each.id for each in await bench.engine.jobs("test")] == [job.id]
    assert await bench.engine.jobs("another") == ()


async def test_registering_the_same_changes_nothing_and_another_replaces(bench: Bench) -> None:
    job = await bench.run(SLEEP)
    before = await bench.task(job, lambda task: task.pid)
    await bench.engine.start()
    await bench.another().register(job)
    assert await bench.task(job, lambda task: task.pid) == before
    changed = Job(id=job.id, role=job.role, server="s1", variables={"id": job.id, "version": 2})
    assert bench.engine.fingerprint(changed) != bench.engine.fingerprint(job)
    await bench.engine.register(changed)
    after = await bench.task(job, lambda task: task.state == "running")
    assert after.pid != before.pid
    assert len(bench.processes("sleep")) == 1


async def test_deregistering_stops_all_of_it(bench: Bench) -> None:
    job = await bench.run("sleep 1001 & setsid sleep 1002 & exec sleep 1000")
    await bench.engine.deregister(job.id)
    assert bench.processes("sleep") == []
    assert await bench.engine.jobs("test") == ()
    await bench.engine.deregister(job.id)
    assert await bench.engine.logs(job.id, "main", lines=5) == ""


async def test_a_task_that_ignores_its_signal_is_killed_after_its_time_out(bench: Bench) -> None:
    job = await bench.run("trap 'echo told' TERM; echo set; while :; do sleep 0.1; done")
    await bench.logged(job, lambda text: "set" in text)
    started = trio.current_time()
    await bench.engine.deregister(job.id)
    assert trio.current_time() - started >= 1.0
    assert bench.processes("sleep") == []
    assert "told" in await bench.engine.logs(job.id, "main", lines=5)


@pytest.fixture
def rude_starter() -> Iterator[None]:
    """This process, which starts the engine, ignores a signal and blocks another."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("rude_starter")
async def test_a_task_starts_with_no_signal_ignored_and_may_open_many_files(bench: Bench) -> None:
    script = "grep -E 'SigIgn|SigBlk' /proc/self/status; ulimit -n; umask; exec sleep 1000"
    job = await bench.run(script)
    text = await bench.logged(job, lambda text: text.count("\n") == 4)
    blocked, ignored, files, mask = text.splitlines()
    assert int(blocked.split()[1], 16) & ~LIBRARYS == 0
    assert int(ignored.split()[1], 16) & ~LIBRARYS == 0
    assert int(files) == min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1024 * 1024)
    assert mask == "0022"


async def test_output_is_rotated_while_the_task_writes(bench: Bench) -> None:
    job = await bench.run("seq -f 'line %.0f of a task that talks a lot' 100000; exec sleep 1000")
    last = "line 100000 of a task that talks a lot\n"
    await eventually(lambda: bench.engine.logs(job.id, "main", lines=1), lambda text: text == last)
    directory = bench.state / "logs" / job.id
    names = sorted(path.name for path in directory.iterdir())
    assert names == ["main.log", "main.log.1"]
    assert all(path.stat().st_size <= 1024 * 1024 for path in directory.iterdir())
    text = await bench.engine.logs(job.id, "main", lines=20_000)
    numbers = [int(line.split()[1]) for line in text.splitlines()]
    assert numbers == list(range(80_001, 100_001))


async def test_templates_are_written(bench: Bench) -> None:
    more = """
      template {
        destination = "local/greeting"
        data        = "hello ${var.id}"
      }
      template {
        destination = "secrets/env"
        env         = true
        perms       = "600"
        data        = "FROM_TEMPLATE=yes"
      }
"""
    script = (
        f"cat $NOMAD_TASK_DIR/greeting; echo; stat -c %a secrets/env; echo $FROM_TEMPLATE; {SLEEP}"
    )
    job = bench.write("one", ("main", more, script))
    await bench.engine.start()
    await bench.engine.register(job)
    text = await bench.logged(job, lambda text: "at work" in text)
    assert text == "hello test-one-s1\n600\nyes\nat work\n"


async def test_a_command_that_is_not_there_is_named(bench: Bench) -> None:
    job = bench.write("one", ("main", "", ""))
    path = bench.files / "one.nomad.hcl"
    path.write_text(path.read_text().replace("/bin/sh", "/no/such/program"))
    await bench.engine.start()
    await bench.engine.register(job)
    await bench.task(job, lambda task: task.restarts >= 1 and task.exit == 127)
    text = await bench.engine.logs(job.id, "main", lines=50)
    assert "[the task did not start: /no/such/program: No such file or directory]" in text


async def test_errors_are_an_operators(bench: Bench) -> None:
    job = bench.write("one", ("main", "artifact {}", SLEEP))
    for call in (bench.engine.endpoints, lambda: bench.engine.logs("none", "t", lines=1)):
        with pytest.raises(EngineError):
            await call()
    assert not await bench.engine.running()
    assert await bench.engine.jobs("test") == ()
    await bench.engine.deregister("none")
    await bench.engine.start()
    with pytest.raises(JobFileError, match=r"one\.nomad\.hcl:26:7: .*artifact in task"):
        await bench.engine.register(job)
    missing = Job(id="x", role="none", server="s", variables={})
    with pytest.raises(JobFileError, match=r"none\.nomad\.hcl: No such file"):
        bench.engine.fingerprint(missing)
    bench.write("one", ("main", "", SLEEP))
    other = Job(id="another", role="one", server="s1", variables={"id": job.id})
    with pytest.raises(JobFileError, match="its id is test-one-s1, not another"):
        await bench.engine.register(other)
    assert await bench.engine.jobs("test") == ()


async def test_a_port_that_is_taken_is_named(bench: Bench) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", bench.port))
        other.listen()
        with pytest.raises(
            EngineError, match=rf"127\.0\.0\.1:{bench.port}: Address already in use"
        ):
            await bench.engine.start()
        assert not await bench.engine.running()
    await bench.engine.start()


async def test_two_that_start_at_once_make_one_engine(bench: Bench) -> None:
    errors: list[EngineError] = []

    async def start() -> None:
        try:
            await bench.another().start()
        except EngineError as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(start)
    assert errors == []

    async def engines() -> list[int]:
        return bench.processes("pbxctl.engines.local")

    # Those that came too late are still on their way out.
    assert await eventually(engines, lambda found: len(found) == 1) == [bench.pid()]


async def test_a_stale_state_directory(bench: Bench) -> None:
    bench.state.mkdir()
    (bench.state / "engine.pid").write_text(str(os.getpid()))
    (bench.state / "engine.sock").write_text("")
    await bench.engine.start()
    assert await bench.engine.running()


async def test_endpoints_and_the_registrys_address(bench: Bench) -> None:
    await bench.engine.start()
    endpoints = await bench.engine.endpoints()
    assert endpoints.registry == f"http://127.0.0.1:{bench.port}"
    token = bench.state / "secrets" / "admin_token"
    assert endpoints.admin_token == token.read_text()
    assert token.stat().st_mode & 0o777 == 0o600
    with socket.socket() as outside, pytest.raises(ConnectionRefusedError):
        outside.connect(("127.0.0.2", bench.port))


async def test_another_registry_port_moves_the_engine_and_no_task(bench: Bench) -> None:
    job = await bench.run(SLEEP)
    before = await bench.task(job, lambda task: task.pid)
    first = bench.pid()
    bench.port = free_port()
    bench.engine = bench.another()
    await bench.engine.start()
    assert bench.pid() != first
    assert (await bench.engine.endpoints()).registry.endswith(f":{bench.port}")
    assert (await bench.task(job, lambda task: task.pid)) == before


async def test_destroy_without_an_engine(bench: Bench) -> None:
    await bench.run("trap '' TERM; sleep 1001 & sleep 1000")
    os.kill(bench.pid(), signal.SIGKILL)
    assert bench.processes("sleep")
    await bench.another().destroy()
    assert bench.processes() == []
    assert not bench.state.exists()


async def test_what_is_not_the_engines_survives_destroy(bench: Bench) -> None:
    await bench.engine.start()
    kept = bench.state / "notes"
    kept.write_text("mine")
    await bench.engine.destroy()
    assert [path.name for path in bench.state.iterdir()] == ["notes"]
    kept.unlink()
    bench.state.rmdir()

"""What dies, and what must not die with it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import trio

from pbxctl.deployment import Job
from pbxctl.engines.engine import EngineError
from pbxctl.engines.executor.processes import start_time
from tests.integration.engine.conftest import PRESTART, Bench
from tests.support.waiting import eventually

SLEEP = "echo at work; exec sleep 1000"


def _executors(bench: Bench) -> list[int]:
    return bench.processes("pbxctl.engines.executor")


async def test_a_task_that_is_killed_runs_again(bench: Bench) -> None:
    job = await bench.run(SLEEP)
    before = await bench.task(job, lambda task: task.pid)
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    after = await bench.task(job, lambda task: task.state == "running" and task.restarts == 1)
    assert after.exit == -signal.SIGKILL
    assert after.pid != before.pid
    text = await bench.logged(job, lambda text: text.count("at work") == 2)
    assert "[engine: exit status -9; starts again in 0.2 s]" in text


async def test_orphans_of_a_task_are_ended_before_it_runs_again(bench: Bench) -> None:
    script = "setsid sleep 1001 & (setsid sleep 1002 &) ; echo up; exec sleep 1000"
    job = await bench.run(script)
    before = await bench.task(job, lambda task: task.pid)
    assert before.pid is not None
    old = bench.processes("sleep")
    assert len(old) == 3
    os.kill(before.pid, signal.SIGKILL)
    await bench.task(job, lambda task: task.state == "running" and task.restarts == 1)
    assert not any(start_time(pid) for pid in old)
    await bench.logged(job, lambda text: text.count("up") == 2)
    assert len(bench.processes("sleep")) == 3


async def test_an_executor_that_is_killed_takes_its_task_with_it(bench: Bench) -> None:
    job = await bench.run("setsid sleep 1001 & echo up; exec sleep 1000")
    await bench.logged(job, lambda text: "up" in text)
    old = bench.processes("sleep")
    (executor,) = _executors(bench)
    os.kill(executor, signal.SIGKILL)
    await bench.task(job, lambda task: task.state == "running" and task.restarts == 1)
    assert not any(start_time(pid) for pid in old)
    assert len(_executors(bench)) == 1


async def test_tasks_outlive_the_engine_and_are_found_again(bench: Bench) -> None:
    job = await bench.run("echo up; while :; do sleep 0.1; echo tick; done")
    before = await bench.task(job, lambda task: task.pid)
    started = start_time(before.pid or 0)
    for _ in range(3):
        os.kill(bench.pid(), signal.SIGKILL)
        await eventually(lambda: _no_engine(bench))
        ticks = (await bench.engine.logs(job.id, "main", lines=10_000)).count("tick")
        await bench.logged(job, lambda text, ticks=ticks: text.count("tick") > ticks)
        await bench.another().start()
        assert await bench.task(job, lambda task: task.pid) == before
    assert start_time(before.pid or 0) == started
    assert len(_executors(bench)) == 1
    assert (await bench.engine.logs(job.id, "main", lines=10_000)).count("up") == 1
    # And it is still the engine's: it is restarted, and stopped, as before.
    os.kill(before.pid or 0, signal.SIGKILL)
    await bench.task(job, lambda task: task.state == "running" and task.restarts == 1)
    await bench.engine.deregister(job.id)
    assert _executors(bench) == []


async def _no_engine(bench: Bench) -> bool:
    return bench.pid() == 0


async def test_a_task_that_ended_while_the_engine_was_away(bench: Bench) -> None:
    job = await bench.run(SLEEP)
    before = await bench.task(job, lambda task: task.pid)
    os.kill(bench.pid(), signal.SIGKILL)
    os.kill(before.pid or 0, signal.SIGKILL)
    await eventually(lambda: _no_executor(bench))
    await bench.another().start()
    # The engine does not say that it runs before it runs again.
    after = await bench.task(job, lambda task: task.state == "running")
    assert (after.restarts, after.exit) == (1, -signal.SIGKILL)
    assert after.pid


async def _no_executor(bench: Bench) -> bool:
    return not _executors(bench)


async def test_everything_killed_at_once(bench: Bench) -> None:
    job = bench.write(
        "two",
        ("first", PRESTART, "echo prepared"),
        ("main", "", "setsid sleep 1001 & echo up; exec sleep 1000"),
    )
    await bench.engine.start()
    await bench.engine.register(job)
    await bench.logged(job, lambda text: "up" in text)
    old = bench.processes("sleep")
    for pid in (bench.pid(), *_executors(bench)):
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: _no_engine(bench))
    assert any(start_time(pid) for pid in old)
    await bench.another().start()
    await bench.task(job, lambda task: task.state == "running" and task.restarts == 1)
    assert not any(start_time(pid) for pid in old)
    # What had completed is not done again.
    assert await bench.engine.logs(job.id, "first", lines=10) == "prepared\n"


async def test_a_stranger_with_a_recycled_pid_is_left_alone(bench: Bench) -> None:
    job = await bench.run(SLEEP)
    for pid in (bench.pid(), *_executors(bench), *bench.processes("sleep")):
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: _no_executor(bench))
    stranger = _stranger()
    try:
        running = bench.state / "jobs" / job.id / "main.running"
        said = json.loads(running.read_text())
        running.write_text(json.dumps(said | {"executor": stranger.pid, "pid": stranger.pid}))
        await bench.another().start()
        after = await bench.task(job, lambda task: task.state == "running")
        assert after.pid != stranger.pid
        await bench.engine.deregister(job.id)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def _stranger() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], start_new_session=True)


async def test_the_engine_survives_its_terminal(bench: Bench) -> None:
    job = bench.write("one", ("main", "", SLEEP))
    terminal, its_end = pty.openpty()
    operator = _operator(bench, job, its_end)
    os.close(its_end)
    with trio.fail_after(60):
        await trio.lowlevel.wait_readable(terminal)
    assert b"registered" in os.read(terminal, 1000)
    os.close(terminal)
    with trio.fail_after(20):
        assert await trio.to_thread.run_sync(operator.wait) == -signal.SIGHUP
    assert await bench.engine.running()
    task = await bench.task(job, lambda task: task.state == "running")
    assert task.restarts == 0


OPERATOR = """
import sys
from pathlib import Path

import trio

from pbxctl.deployment import Job
from pbxctl.engines.local import LocalEngine

state, port, files, job_id = sys.argv[1:]


async def main():
    engine = LocalEngine(Path(state), registry_port=int(port), jobs=Path(files))
    await engine.start()
    await engine.register(Job(id=job_id, role="one", server="s1", variables={"id": job_id}))
    print("registered", flush=True)
    await trio.sleep_forever()


trio.run(main)
"""


def _operator(bench: Bench, job: Job, terminal: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-c", OPERATOR),
            *(str(bench.state), str(bench.port), str(bench.files), job.id),
        ],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        cwd=Path(__file__).parents[3],
        preexec_fn=_take_terminal,
    )


def _take_terminal() -> None:
    # What runs the tests may ignore it (nohup), and programs inherit that.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


async def test_a_prestart_task_that_fails_is_shown_and_holds_the_rest(bench: Bench) -> None:
    job = bench.write(
        "two",
        ("first", PRESTART, "echo no database; exit 3"),
        ("main", "", SLEEP),
        attempts=1,
        mode="fail",
    )
    await bench.engine.start()
    await bench.engine.register(job)
    status = await bench.job(job, lambda status: status.state == "dead")
    first, main = status.tasks
    assert (first.state, first.exit, first.restarts) == ("dead", 3, 1)
    assert (main.pid, main.restarts) == (None, 0)
    text = await bench.engine.logs(job.id, "first", lines=10)
    assert "[engine: exit status 3; given up: it ended 2 times within 60 s]" in text
    # An engine that comes back does not try again; an operator who registers it does.
    os.kill(bench.pid(), signal.SIGKILL)
    await bench.another().start()
    assert (await bench.job(job, lambda _: True)).state == "dead"
    (bench.files / "two.nomad.hcl").write_text(
        (bench.files / "two.nomad.hcl").read_text().replace("exit 3", "exit 0")
    )
    await bench.engine.register(job)
    await bench.job(job, lambda status: status.state == "running")


async def test_one_task_that_gives_up_ends_the_job(bench: Bench) -> None:
    job = bench.write("two", ("main", "", "exit 1"), ("other", "", SLEEP), attempts=1, mode="fail")
    await bench.engine.start()
    await bench.engine.register(job)
    status = await bench.job(job, lambda status: all(task.state == "dead" for task in status.tasks))
    assert status.state == "dead"
    assert bench.processes("sleep") == []


async def test_a_full_disk_is_named_and_costs_no_task(bench: Bench) -> None:
    bench.state.mkdir()
    size = "size=2m,mode=755"
    await trio.run_process(["mount", "-t", "tmpfs", "-o", size, "none", str(bench.state)])
    try:
        job = await bench.run(
            "while :; do head -c 9000 /dev/zero | tr '\\0' x; echo; sleep 0.1; done"
        )
        before = await bench.task(job, lambda task: task.pid)
        filler = bench.state / "data" / "filler"
        _fill(filler)
        read = _read_by(bench)
        await eventually(lambda: _has_read(bench, read + 30_000))
        other = bench.write("other", ("main", "", SLEEP))
        with pytest.raises(EngineError, match=r"No space left on device: the local engine cannot"):
            await bench.engine.register(other)
        assert await bench.task(job, lambda task: task.pid) == before
        filler.unlink()
        await bench.logged(job, lambda text: "bytes of output were lost" in text)
        await bench.engine.register(other)
        await bench.task(other, lambda task: task.state == "running")
    finally:
        await bench.engine.destroy()
        await trio.run_process(["umount", "--lazy", str(bench.state)])
        bench.state.rmdir()


def _read_by(bench: Bench) -> int:
    """Bytes that the only executor has read of its task's output, and of else (proc_pid_io(5))."""
    (executor,) = _executors(bench)
    return int(Path(f"/proc/{executor}/io").read_text().split()[1])


async def _has_read(bench: Bench, count: int) -> bool:
    return _read_by(bench) > count


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue

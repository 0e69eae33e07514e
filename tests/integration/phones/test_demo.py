"""`make run`, as its visitor has it: in a network namespace, so that its ports are free."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.support.audio import voices_in

ROOT = Path(__file__).resolve().parents[3]
NAMESPACE = ["unshare", "--net", "sh", "-c"]


@pytest.fixture
def out() -> Iterator[Path]:
    """Short: pytest's own directories are too long for the sockets in it."""
    with tempfile.TemporaryDirectory(prefix="demo-") as directory:
        yield Path(directory)


async def test_the_demo_makes_real_calls_twice_and_can_be_stopped(out: Path) -> None:
    demo = f"{sys.executable} -m tools.demo"
    # The second run finds what the first left running; then it is stopped as the first said.
    stop = f"{sys.executable} -m pbxctl destroy --state-dir {out}/pbx --auto-approve"
    script = f"set -e; trap '{stop}' EXIT; ip link set lo up; {demo}; {demo}"
    with trio.fail_after(180):
        done = await trio.run_process(
            [*NAMESPACE, script],
            cwd=ROOT,
            env=os.environ | {"PBX_DEMO_OUT": str(out)},
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    assert said.count("A PBX, and 4 real calls through it") == 2, said
    assert "nothing to change" in said
    assert "Traceback" not in said
    heard = sorted((out / "recordings").glob("udp-heard-by-*.wav"))
    assert [voices_in(path) for path in heard] == [{1}, {0}]
    assert (out / "recordings" / "menu-heard-by-caller.wav").stat().st_size > 100_000
    assert list((out / "pbx").iterdir()) == []


@pytest.mark.parametrize(("port", "kind"), [(5060, "DGRAM"), (8500, "STREAM")])
async def test_a_port_that_is_taken_is_named(out: Path, port: int, kind: str) -> None:
    taken = (
        "import socket, subprocess, sys;"
        f"s = socket.socket(socket.AF_INET, socket.SOCK_{kind}); s.bind(('127.0.0.1', {port}));"
        "sys.exit(subprocess.run([sys.executable, '-m', 'tools.demo']).returncode)"
    )
    with trio.fail_after(30):
        done = await trio.run_process(
            [*NAMESPACE, f'ip link set lo up; exec {sys.executable} -c "{taken}"'],
            cwd=ROOT,
            env=os.environ | {"PBX_DEMO_OUT": str(out)},
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    said = done.stdout.decode()
    assert done.returncode == 1, said
    assert f"127.0.0.1:{port}" in said
    assert "is taken" in said
    assert "Traceback" not in said


async def test_a_path_too_long_for_sockets_is_named(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60)
    done = await trio.run_process(
        [sys.executable, "-m", "tools.demo"],
        cwd=ROOT,
        env=os.environ | {"PBX_DEMO_OUT": str(deep)},
        capture_stdout=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"{deep} is too long a path" in done.stdout.decode()

"""Whom a kill may hit: PostgreSQL's own processes, by what the kernel says of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.database import postmaster


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a child, at work in the data directory, as a postmaster is."""
    child = f"import subprocess; subprocess.run([{sys.executable!r}, '-c', 'input()'])"
    found = subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, cwd=tmp_path)
    yield found
    found.kill()
    found.communicate()


def test_the_whole_family_dies(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    (tmp_path / "postmaster.pid").write_text(f"{process.pid}\n{tmp_path}\n")
    assert postmaster.postmaster(tmp_path) == process.pid
    assert postmaster.kill(tmp_path)
    assert process.wait(30) == -9


def test_a_program_dies_by_its_path(tmp_path: Path) -> None:
    script = tmp_path / "start.py"
    other = tmp_path / "other.py"
    for path in (script, other):
        path.write_text("print(flush=True)\ninput()")
    one, two = (
        subprocess.Popen([sys.executable, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for path in (script, other)
    )
    try:
        # For a moment after execve(2) a process has no command line.
        for each in (one, two):
            assert each.stdout
            each.stdout.readline()
        assert postmaster.kill_program(script)
        assert one.wait(30) == -9
        assert two.poll() is None
        assert not postmaster.kill_program(tmp_path / "none.py")
    finally:
        for each in (one, two):
            each.kill()
            each.communicate()


def test_a_number_that_is_anothers_by_now(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "postmaster.pid").write_text(f"{process.pid}\n")
    assert not postmaster.kill(data)
    assert process.poll() is None


@pytest.mark.parametrize("text", ["", "x", "999999999"])
def test_no_process(tmp_path: Path, text: str) -> None:
    assert postmaster.postmaster(tmp_path) is None
    (tmp_path / "postmaster.pid").write_text(text)
    assert postmaster.postmaster(tmp_path) is None

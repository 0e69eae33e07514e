"""One change of a cluster at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pbxctl.lock import NAME, LockedError, hold


def test_second_holder_is_told_who_holds_it(tmp_path: Path) -> None:
    directory = tmp_path / "acme"
    said = rf"acme is being changed: pbxctl apply .*{os.getpid()}"
    with (
        hold(directory, "apply"),
        pytest.raises(LockedError, match=said),
        hold(directory, "destroy"),
    ):
        pytest.fail("two held it")
    with hold(directory, "destroy"):
        pass


def test_nothing_is_left_where_nothing_was(tmp_path: Path) -> None:
    with hold(tmp_path / "acme", "apply"):
        assert (tmp_path / "acme" / NAME).exists()
    assert not (tmp_path / "acme").exists()


def test_state_of_others_stays(tmp_path: Path) -> None:
    directory = tmp_path / "acme"
    (directory / "secrets").mkdir(parents=True)
    with hold(directory, "apply"):
        pass
    assert [entry.name for entry in directory.iterdir()] == ["secrets"]


def test_lock_dies_with_its_holder(tmp_path: Path) -> None:
    directory = tmp_path / "acme"
    program = (
        "import sys, os, signal; from pathlib import Path; from pbxctl.lock import hold\n"
        "with hold(Path(sys.argv[1]), 'apply'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(directory)], timeout=30, check=False)
    assert done.returncode == -9
    assert (directory / NAME).exists()
    with hold(directory, "apply"):
        pass
    assert not directory.exists()


def test_holder_may_remove_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "acme"
    with hold(directory, "destroy"):
        (directory / NAME).unlink()
        directory.rmdir()
    assert not directory.exists()

"""Small pure parts of the local engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbxctl.engines.engine import EngineError, JobState, TaskStatus
from pbxctl.engines.executor.logfile import LogFile
from pbxctl.engines.local import durations
from pbxctl.engines.local.job import state_of
from pbxctl.engines.local.state_dir import StateDir
from pbxctl.engines.local.tail import tail


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("1h30m", 5400), ("1.5ms", 0.0015), ("250us", 0.00025), ("0", 0), (".5s", 0.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert durations.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "1d", "10 s", "-1s", "1s5", "1s!"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        durations.seconds(text)


@given(st.integers(0, 10**7))
def test_durations_go_and_come_back(seconds: int) -> None:
    assert durations.seconds(durations.text(seconds)) == seconds


def _task(name: str, state: JobState, exit_status: int | None = None) -> TaskStatus:
    return TaskStatus(name=name, state=state, exit=exit_status)


@pytest.mark.parametrize(
    ("tasks", "state"),
    [
        ([_task("first", "running"), _task("main", "pending")], "pending"),
        ([_task("first", "dead", 0), _task("main", "pending")], "pending"),
        ([_task("first", "dead", 0), _task("main", "running")], "running"),
        ([_task("first", "dead", 0), _task("main", "restarting", 1)], "restarting"),
        ([_task("first", "restarting", 1), _task("main", "pending")], "restarting"),
        ([_task("first", "dead", 1), _task("main", "pending")], "dead"),
        ([_task("first", "dead", 0), _task("main", "dead", 1)], "dead"),
    ],
)
def test_a_jobs_state(tasks: list[TaskStatus], state: JobState) -> None:
    assert state_of(tasks, ["first"]) == state


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=300), max_size=40),
    files=st.integers(1, 4),
    size=st.integers(50, 200),
)
def test_a_rotated_log_holds_the_end_of_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], files: int, size: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "t.log"
    log = LogFile(path, files, size)
    for chunk in chunks:
        log.write(chunk)
    log.close()
    found = [path.with_name(f"t.log.{n}") for n in range(files - 1, 0, -1)] + [path]
    kept = b"".join(file.read_bytes() for file in found if file.exists())
    whole = b"".join(chunks)
    assert whole.endswith(kept)
    assert all(file.stat().st_size <= size for file in found if file.exists())
    assert sorted(path.parent.iterdir()) == sorted(file for file in found if file.exists())
    # What is lost is lost to rotation alone: all files but one are nearly full.
    if len(whole) <= size:
        assert kept == whole


def test_a_log_that_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    for text in (b"one\n", b"two\n", b"three\n"):
        log = LogFile(path, 2, 10)
        log.write(text)
        log.close()
    assert path.read_bytes() == b"three\n"
    assert path.with_name("t.log.1").read_bytes() == b"one\ntwo\n"


def test_a_full_disk_loses_output_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    path.symlink_to("/dev/full")
    log = LogFile(path, 2, 1000)
    log.write(b"lost\n")
    log.close()
    path.unlink()
    log.write(b"kept\n")
    log.close()
    assert path.read_bytes() == b"\n[5 bytes of output were lost: the disk was full]\nkept\n"


def test_the_last_lines_across_files(tmp_path: Path) -> None:
    path = tmp_path / "t.log"
    assert tail(path, 5) == ""
    path.with_name("t.log.2").write_text("1\n2\n")
    path.with_name("t.log.1").write_text("3\n4\n")
    path.write_bytes(b"5\n\xff6")
    assert tail(path, 1) == "\ufffd6"
    assert tail(path, 3) == "4\n5\n\ufffd6"
    assert tail(path, 100) == "1\n2\n3\n4\n5\n\ufffd6"
    assert tail(path, 0) == ""
    path.write_text("x" * 200_000 + "\nend\n")
    assert tail(path, 1) == "end\n"


def test_a_socket_path_that_is_too_long(tmp_path: Path) -> None:
    state = StateDir(tmp_path / ("d" * 120))
    with pytest.raises(EngineError, match="bytes too long for a socket: choose a shorter"):
        state.prepare()
    assert not state.root.exists()


def test_secrets_are_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "s")
    state.prepare()
    key, token = state.secrets / "cluster_key", state.secrets / "admin_token"
    first = key.read_text(), token.read_text()
    assert len(bytes.fromhex(first[0])) == 32
    assert [path.stat().st_mode & 0o777 for path in (key, token, state.secrets)] == [
        0o600,
        0o600,
        0o700,
    ]
    state.prepare()
    assert (key.read_text(), token.read_text()) == first
    state.remove()
    assert not state.root.exists()

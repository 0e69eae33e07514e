"""The spool: what a writer appended is read once, whatever happens to the writer."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.events import (
    Answered,
    Ended,
    Event,
    EventWriter,
    Quality,
    Started,
    Tail,
    new_id,
    read_all,
)

ROOT = Path(__file__).parents[3]


def started(number: int, time: float | None = None) -> Started:
    return Started(
        id=f"s{number}",
        call=f"call-{number}",
        time=float(number) if time is None else time,
        server="cm1",
        tenant="acme",
        direction="internal",
        caller="2001",
        callee="2002",
    )


def ids(events: list[Event]) -> list[str]:
    return [event.id for event in events]


def test_every_kind_comes_back_as_it_was(tmp_path: Path) -> None:
    same: dict[str, Any] = {"call": "c1", "server": "cm1", "tenant": "acme"}
    events: list[Event] = [
        Started(
            id=new_id(),
            time=1.0,
            direction="outbound",
            caller="2001",
            callee="+4930123",
            trunk="carrier-a",
            media="media1",
            **same,
        ),
        Answered(id=new_id(), time=2.0, by="+4930123", **same),
        Ended(
            id=new_id(),
            time=12.5,
            code=200,
            reason="normal",
            by="callee",
            answered=True,
            duration=10.5,
            quality=Quality(mos=4.3, loss=0.1, jitter=2.0),
            **same,
        ),
    ]
    writer = EventWriter(tmp_path, "worker-1")
    for event in events:
        assert writer.append(event)
    assert read_all(tmp_path) == events
    assert [path.name for path in tmp_path.iterdir()] == ["worker-1.00000001.jsonl"]


def test_ids_are_unique_and_sort_by_time() -> None:
    made = [new_id() for _ in range(10_000)]
    assert len(set(made)) == len(made)
    assert [one[:14] for one in made] == sorted(one[:14] for one in made)


def test_events_of_several_writers_come_by_time(tmp_path: Path) -> None:
    first, second = EventWriter(tmp_path, "worker-1"), EventWriter(tmp_path, "worker-2")
    for number in range(10):
        (first if number % 3 else second).append(started(number))
    assert ids(Tail(tmp_path).read()) == [f"s{number}" for number in range(10)]


def test_a_torn_last_line_waits_for_its_rest(tmp_path: Path) -> None:
    EventWriter(tmp_path, "worker-1").append(started(1))
    path = tmp_path / "worker-1.00000001.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    tail = Tail(tmp_path)
    assert ids(tail.read()) == ["s1"]
    assert tail.read() == []
    path.write_bytes(whole + whole)
    assert ids(tail.read()) == ["s1"]
    assert tail.malformed == 0


def test_a_writer_never_adds_to_a_torn_line(tmp_path: Path) -> None:
    EventWriter(tmp_path, "worker-1").append(started(1))
    path = tmp_path / "worker-1.00000001.jsonl"
    path.write_bytes(path.read_bytes() + b'{"kind":"star')
    again = EventWriter(tmp_path, "worker-1")
    again.append(started(2))
    tail = Tail(tmp_path)
    assert ids(tail.read()) == ["s1", "s2"]
    assert tail.malformed == 1
    assert tail.lag() == 0


def test_lines_that_are_no_events_are_counted_and_passed(tmp_path: Path) -> None:
    EventWriter(tmp_path, "worker-1").append(started(1))
    path = tmp_path / "worker-1.00000001.jsonl"
    path.write_bytes(b'\x00\xff\n\n{"kind":"unknown"}\n' + path.read_bytes())
    (tmp_path / "notes.txt").write_text("not of the spool\n")
    tail = Tail(tmp_path)
    assert ids(tail.read()) == ["s1"]
    assert tail.malformed == 2


def test_a_line_longer_than_a_chunk_does_not_stop_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.00000001.jsonl"
    path.write_bytes(b"x" * 3_000_000 + b"\n")
    EventWriter(tmp_path, "worker-1").append(started(1))
    assert ids(read_all(tmp_path)) == ["s1"]


def test_rotation_while_tailing_loses_and_repeats_nothing(tmp_path: Path) -> None:
    writer, tail, seen = EventWriter(tmp_path, "worker-1", rotate_at=1000), Tail(tmp_path), []
    for number in range(500):
        writer.append(started(number))
        if number % 7 == 0:
            seen += ids(tail.read())
        if number % 31 == 0:
            tail.remove_finished()
    seen += ids(tail.read())
    assert seen == [f"s{number}" for number in range(500)]
    tail.remove_finished()
    assert len(list(tmp_path.iterdir())) == 1
    assert tail.read() == []


def test_positions_carry_over_to_another_tail(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path, "worker-1", rotate_at=1000)
    for number in range(20):
        writer.append(started(number))
    first = Tail(tmp_path)
    assert len(first.read()) == 20
    for number in range(20, 40):
        writer.append(started(number))
    second = Tail(tmp_path, first.positions)
    assert second.lag() > 0
    assert ids(second.read()) == [f"s{number}" for number in range(20, 40)]


def test_a_restarted_writer_goes_on_in_its_file(tmp_path: Path) -> None:
    for number in range(3):
        EventWriter(tmp_path, "worker-1").append(started(number))
    assert len(list(tmp_path.iterdir())) == 1
    assert ids(read_all(tmp_path)) == ["s0", "s1", "s2"]


def test_a_missing_spool_is_empty_and_a_writer_makes_it(tmp_path: Path) -> None:
    spool = tmp_path / "not" / "yet"
    tail = Tail(spool)
    assert tail.read() == []
    assert EventWriter(spool, "w").append(started(1))
    assert ids(tail.read()) == ["s1"]


def test_a_full_disk_is_counted_and_ends_no_call(tmp_path: Path) -> None:
    """A limit on the file's size cuts a write short and then refuses it, as a full disk does."""
    script = f"""
import resource, signal, sys
from pathlib import Path
from services.core.events import EventWriter
from tests.unit.events.test_events import started
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))
writer = EventWriter(Path(sys.argv[1]), "worker-1")
kept = [writer.append(started(number)) for number in range(20)]
assert not all(kept) and kept[0], kept
assert writer.failures == kept.count(False)
assert "worker" not in writer.error and sys.argv[1] in writer.error
resource.setrlimit(resource.RLIMIT_FSIZE, ({resource.RLIM_INFINITY}, {resource.RLIM_INFINITY}))
assert writer.append(started(100))
print(kept.count(True) + 1)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    events = read_all(tmp_path)
    assert len(events) == int(done.stdout)
    assert events[-1].id == "s100"


def test_kill_9_of_a_writing_process_loses_nothing_it_was_told_is_kept(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from services.core.events import EventWriter
from tests.unit.events.test_events import started
writer = EventWriter(Path(sys.argv[1]), "worker-1", rotate_at=5000)
number = 0
while True:
    assert writer.append(started(number))
    os.write(1, b".")
    number += 1
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout
    told = len(os.read(process.stdout.fileno(), 1))
    while told < 300:
        told += len(os.read(process.stdout.fileno(), 4096))
    process.send_signal(signal.SIGKILL)
    told += len(process.stdout.read())
    process.stdout.close()
    process.wait(timeout=10)
    tail = Tail(tmp_path)
    found = []
    while more := tail.read():
        found += ids(more)
    assert tail.malformed == 0
    assert len(found) - told in (0, 1)
    assert found == [f"s{number}" for number in range(len(found))]


@pytest.mark.parametrize("name", ["", "a.b", "../x", "-x", "x" * 65, "a/b"])
def test_a_writers_name_is_a_plain_word(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="letters"):
        EventWriter(tmp_path, name)


@given(cuts=st.lists(st.integers(0, 2000), max_size=12))
def test_any_cut_of_the_file_gives_each_event_once(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    source = tmp_path_factory.mktemp("source")
    for number in range(12):
        EventWriter(source, "w").append(started(number))
    data = (source / "w.00000001.jsonl").read_bytes()
    spool = tmp_path_factory.mktemp("spool")
    tail, seen, begin = Tail(spool), [], 0
    for end in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        with (spool / "w.00000001.jsonl").open("ab") as file:
            file.write(data[begin:end])
        begin = end
        seen += ids(tail.read())
    assert seen == [f"s{number}" for number in range(12)]
    assert tail.malformed == 0

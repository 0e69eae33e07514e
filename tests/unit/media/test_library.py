from __future__ import annotations

import datetime
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.recording.conversion import Result
from services.media.recording.disk import MIB, Room, expired
from services.media.recording.library import Entry, Library
from services.media.recording.metadata import Leg, Name
from services.media.recording.service import ask_again

NAME = Name(name="c%401-00112233445566ff", id="00112233445566ff", call="c@1")


def library(tmp_path: Path) -> Library:
    found = Library(tmp_path, "media1")
    found.prepare()
    return found


def begin(tmp_path: Path, metadata: str = "") -> None:
    (tmp_path / "tmp" / f"rtpengine-meta-{NAME.name}.tmp").write_text(metadata)
    (tmp_path / "pcaps" / f"{NAME.name}.pcap").write_bytes(b"packets")


def test_a_recording_goes_from_rtpengine_to_the_index(tmp_path: Path) -> None:
    here = library(tmp_path)
    begin(tmp_path, "call end time: now\n\n\ntenant=sales&caller=1&callee=2\n")
    assert here.running() == {NAME.name: NAME}
    here.keep_legs(NAME, (Leg(tag="f", ports={2000: "PCMA/8000"}),))
    assert here.finish(NAME)
    assert not here.finish(NAME)
    assert (here.running(), here.finished()) == ({}, {NAME.name: NAME})
    work = here.work(NAME)
    assert work.streams[2000].channel == 0
    Path(work.wav).write_bytes(b"sound")
    started = datetime.datetime(2026, 3, 1, 23, 59, tzinfo=datetime.UTC).timestamp()
    result = Result(started=started, duration=1.23456, bytes=5, rate=8000, lost=0)
    entry = here.publish(NAME, work, result, keep=30)
    assert Path(entry.path) == tmp_path / "wav" / "2026-03-01" / f"{entry.id}.wav"
    assert Path(entry.path).read_bytes() == b"sound"
    assert (entry.tenant, entry.caller, entry.callee) == ("sales", "1", "2")
    assert entry.keep_until == started + 30 * 86400
    ((entry_id, data),) = here.unindexed()
    assert entry_id == entry.id
    assert msgspec.json.decode(data, type=Entry) == entry
    here.acknowledged(entry_id)
    left = {p.relative_to(tmp_path).parts[0] for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"wav"}


def test_of_a_call_only_the_newest_recording_runs(tmp_path: Path) -> None:
    here = library(tmp_path)
    begin(tmp_path)
    assert here.lost() == []
    for id_, call, at in (("1" * 16, "c%401", 2.0), ("2" * 16, "d%401", 3.0)):
        path = tmp_path / "tmp" / f"rtpengine-meta-{call}-{id_}.tmp"
        path.touch()
        os.utime(path, (at, at))
    os.utime(tmp_path / "tmp" / f"rtpengine-meta-{NAME.name}.tmp", (1.0, 1.0))
    assert here.lost() == [NAME]
    here.finish(NAME)
    assert here.lost() == []


def test_ids_sort_by_time(tmp_path: Path) -> None:
    here = library(tmp_path)
    ids: list[str] = []
    for started in (999.5, 1_000.0, 1_800_000_000.0):
        begin(tmp_path)
        here.finish(NAME)
        work = here.work(NAME)
        Path(work.wav).write_bytes(b"")
        result = Result(started=started, duration=1, bytes=0, rate=8000, lost=0)
        ids.append(here.publish(NAME, work, result, keep=0).id)
    assert ids == sorted(ids)


def test_what_a_killed_conversion_left_is_removed_and_done_again(tmp_path: Path) -> None:
    here = library(tmp_path)
    begin(tmp_path)
    here.finish(NAME)
    Path(here.work(NAME).wav).write_bytes(b"half")
    (tmp_path / "unindexed" / ".x.json.new").write_bytes(b"{")
    again = library(tmp_path)
    assert again.finished() == {NAME.name: NAME}
    assert list(tmp_path.glob("wav/*/*.part")) == []
    assert list(again.unindexed()) == []


def test_what_cannot_be_converted_is_set_aside(tmp_path: Path) -> None:
    here = library(tmp_path)
    begin(tmp_path)
    here.finish(NAME)
    here.set_aside(NAME)
    assert here.finished() == {}
    assert {p.suffix for p in (tmp_path / "failed").iterdir()} == {".pcap", ".txt"}


def test_days_expire(tmp_path: Path) -> None:
    here = library(tmp_path)
    for day in ("2026-01-01", "2026-03-01", "new", "notes"):
        (tmp_path / "wav" / day).mkdir()
    today = datetime.date(2026, 3, 2)
    assert here.expire(30, today) == ["2026-01-01"]
    assert here.expire(0, today) == []
    assert {p.name for p in (tmp_path / "wav").iterdir()} == {"2026-03-01", "new", "notes"}


@given(st.integers(1, 400), st.integers(0, 800))
def test_exactly_what_is_older_than_keep_expires(keep: int, age: int) -> None:
    today = datetime.date(2026, 3, 2)
    day = (today - datetime.timedelta(days=age)).isoformat()
    assert expired([day], keep, today) == ([day] if age > keep else [])


def test_recording_stops_below_and_resumes_a_little_above() -> None:
    room = Room().after(1000 * MIB, 1000)
    assert not room.stopped
    room = room.after(999 * MIB, 1000)
    assert room.stopped == "recording stopped: 999 MiB free, 1000 MiB wanted; calls go on"
    assert room.after(1001 * MIB, 1000).stopped, "it does not flap"
    assert not room.after(1050 * MIB, 1000).stopped


@pytest.mark.parametrize(("age", "again"), [(0.0, 2.0), (10.0, 10.0), (3000.0, 60.0)])
def test_rtpengine_is_asked_seldom(age: float, again: float) -> None:
    assert ask_again(age) == again

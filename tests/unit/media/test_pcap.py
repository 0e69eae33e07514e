from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.media.recording.pcap import PcapError, read
from tests.unit.media.captures import HEADER, record


def test_packets_with_time_and_port() -> None:
    data = HEADER + record(5.25, 2000, b"one") + record(5.5, 2002, b"two", ipv6=True)
    found = list(read(io.BytesIO(data)))
    assert [(p.time, p.port, p.data) for p in found] == [(5.25, 2000, b"one"), (5.5, 2002, b"two")]


@given(st.integers(0, 200))
def test_cut_anywhere_it_ends_with_the_last_whole_packet(cut: int) -> None:
    data = HEADER + record(1, 2000, b"one") + record(2, 2000, b"two")
    kept = data[: max(len(HEADER), len(data) - cut)]
    found = [p.data for p in read(io.BytesIO(kept))]
    assert found == [b"one", b"two"][: len(found)]
    assert len(found) == (2 if cut == 0 else 1 if cut <= 47 else 0)


def test_an_empty_file_is_a_recording_that_was_never_flushed() -> None:
    assert list(read(io.BytesIO(b""))) == []


@pytest.mark.parametrize("data", [b"x", b"RIFF" + bytes(40), HEADER[:20] + b"\x01\x00\x00\x00"])
def test_what_is_no_capture(data: bytes) -> None:
    with pytest.raises(PcapError):
        list(read(io.BytesIO(data)))


@given(st.binary(max_size=300))
def test_anything_may_follow_the_header(data: bytes) -> None:
    list(read(io.BytesIO(HEADER + data)))

"""The arena's space, and whose a datagram is."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.audio import g711
from services.core.audio.arena import Arena, Layout, Space
from services.core.audio.batch import sockaddr
from services.core.audio.engine.peers import Peers


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=60))
def test_space_is_never_given_twice_and_never_lost(steps: list[tuple[bool, int]]) -> None:
    space = Space(200)
    held: list[tuple[int, int]] = []
    for take, count in steps:
        if take or not held:
            try:
                held.append((space.take(count), count))
            except MemoryError:
                continue
        else:
            space.give(*held.pop(count % len(held)))
        frames = [frame for first, n in held for frame in range(first, first + n)]
        assert len(frames) == len(set(frames))
        assert not frames or 0 <= min(frames) <= max(frames) < 200
        assert space.free == 200 - len(frames)
    for first, count in held:
        space.give(first, count)
    assert space.take(200) == 0, "neighbours were joined"


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_clip_is_there_in_all_encodings(rate: int) -> None:
    layout = Layout(10, rate)
    memory = mmap.mmap(-1, layout.size)
    pcm, ulaw, alaw = layout.arrays(memory)
    wide = np.arange(rate // 50 + 7, dtype=np.int16)
    narrow = wide[:: rate // 8000].copy()
    first, frames = Arena(memory, layout).put(wide, narrow)
    assert frames == 2
    rows = slice(first, first + frames)
    np.testing.assert_array_equal(pcm[rows].reshape(-1)[: len(wide)], wide)
    assert not pcm[rows].reshape(-1)[len(wide) :].any(), "filled up with silence"
    for codes, law in ((ulaw, "PCMU"), (alaw, "PCMA")):
        found = codes[rows].reshape(-1)[: len(narrow)]
        np.testing.assert_array_equal(found, g711.encode(narrow, law))


@pytest.mark.parametrize("wide", [False, True])
def test_only_the_announced_address_and_port_is_known(wide: bool) -> None:
    hosts = ["2001:db8::1", "2001:db8::2", "::1"] if wide else ["10.0.0.1", "10.0.0.2"]
    places = [(host, port) for host in hosts for port in (1024, 1026, 65534)]
    peers = Peers(wide)

    def find(*wanted: tuple[str, int]) -> list[int]:
        raw = b"".join(sockaddr(host, port) for host, port in wanted)
        return peers.find(np.frombuffer(raw, np.uint8).reshape(-1, 28)).tolist()

    assert find(places[0]) == [-1]
    for row, (host, port) in enumerate(places):
        peers.set(row, sockaddr(host, port))
    assert find(*reversed(places)) == list(reversed(range(len(places))))
    assert find((hosts[0], 1025)) == [-1]
    peers.set(0, b"")
    peers.set(1, sockaddr(hosts[0], 9))
    assert find(places[0], places[1], (hosts[0], 9), places[2]) == [-1, -1, 1, 2]


@pytest.mark.parametrize("address", ["", "host", "10.0.0", "10.0.0.256", "1::2::3"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        sockaddr(address, 1)
    with pytest.raises(ValueError, match="no address"):
        sockaddr("10.0.0.1", 65536)

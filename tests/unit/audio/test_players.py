"""Which frame of the arena is played when, against what anybody would write down at first."""

from __future__ import annotations

import mmap

from hypothesis import given
from hypothesis import strategies as st

from services.core.audio import wire
from services.core.audio.arena import Layout
from services.core.audio.board import Board, size
from services.core.audio.engine.legs import Legs
from services.core.audio.engine.players import Players

ROW = 1
SEGMENTS = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 6)), min_size=1, max_size=5)


def players() -> tuple[Legs, Players]:
    layout = Layout(64, 8000)
    legs = Legs(3, Board(6, mmap.mmap(-1, size(6))), [])
    legs.sending[:] = True
    return legs, Players(legs, 3, mmap.mmap(-1, layout.size), layout)


def beat(made: Players, row: int = ROW) -> int | None:
    """The frame of this beat."""
    if made.changed:
        made.refresh()
    now = [*made.legs_now().tolist(), *(made.rooms_now() + 3).tolist()]
    frame = int(made.at[row]) if row in now else None
    made.advance()
    return frame


@given(SEGMENTS, st.integers(0, 40), st.booleans(), st.sampled_from((ROW, 4)))
def test_every_frame_in_its_turn(
    segments: list[tuple[int, int]], position: int, loop: bool, row: int
) -> None:
    whole = [first + n for first, count in segments for n in range(count)]
    if loop:
        position %= len(whole)
    expected = whole[position:] + (whole * 3 if loop else [])
    legs, made = players()
    made.play(wire.Play(row, 7, segments, position, loop, 1.0))
    heard = [beat(made, row) for _ in expected]
    assert heard == expected
    assert legs.board.position[row] == 160 * (position + len(expected))
    if loop:
        made.stop(row, 8)
        assert beat(made, row) is not None, "another playback's end is not this one's"
        made.stop(row, 7)
    assert beat(made, row) is None
    (over,) = legs.notices
    assert isinstance(over, wire.Played)
    assert (over.row, over.playback, over.whole) == (row, 7, not loop)


def test_a_held_leg_stands_still() -> None:
    legs, made = players()
    made.play(wire.Play(ROW, 1, [(10, 5)], 0, False, 1.0))
    assert beat(made) == 10
    legs.sending[ROW] = False
    made.changed = True
    assert [beat(made), beat(made)] == [None, None]
    legs.sending[ROW] = True
    made.changed = True
    assert beat(made) == 11


def test_one_interrupts_the_other() -> None:
    legs, made = players()
    made.play(wire.Play(ROW, 1, [(10, 5)], 0, False, 1.0))
    beat(made)
    made.play(wire.Play(ROW, 2, [(30, 1)], 0, False, 1.0))
    assert [beat(made), beat(made)] == [30, None]
    told = [(n.playback, n.whole) for n in legs.notices if isinstance(n, wire.Played)]
    assert told == [(1, False), (2, True)]

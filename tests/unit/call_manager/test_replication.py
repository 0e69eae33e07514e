"""The stream of call events between Call Managers."""

from __future__ import annotations

import msgspec
import trio.testing

from services.call_manager.replication import Beat, Current, Following, Journal
from services.core.events import Event, Started
from services.core.settings import Peer


def started(call: str) -> Started:
    return Started(
        id=call,
        call=call,
        time=1.0,
        server="cm1",
        tenant="acme",
        direction="internal",
        caller="1",
        callee="2",
    )


def following(taken: list[Event]) -> Following:
    return Following(Peer("cm1", "10.0.0.1"), 7080, "token", taken.extend, lambda _: None)


async def test_a_reader_gets_a_picture_and_then_what_is_new(
    autojump_clock: trio.testing.MockClock,
) -> None:
    journal = Journal(lambda: [started("old")])
    journal.tell([started("before anybody reads")])
    taken: list[Event] = []
    reader = following(taken)
    stream = journal.read()
    reader._lines((await anext(stream)).split(b"\n"))  # pyright: ignore[reportPrivateUsage]
    assert not reader.current
    reader._lines((await anext(stream)).split(b"\n"))  # pyright: ignore[reportPrivateUsage]
    assert reader.current
    assert reader.first.is_set()
    journal.tell([started("new"), started("newer")])
    reader._lines((await anext(stream)).split(b"\n"))  # pyright: ignore[reportPrivateUsage]
    assert [event.call for event in taken] == ["old", "new", "newer"]
    assert msgspec.json.decode(await anext(stream), type=Beat) == Beat()
    await stream.aclose()


async def test_what_comes_while_the_picture_is_sent_is_not_lost() -> None:
    journal = Journal(lambda: [started("old")])
    stream = journal.read()
    await anext(stream)
    journal.tell([started("meanwhile")])
    assert msgspec.json.decode(await anext(stream), type=Current) == Current()
    assert b"meanwhile" in await anext(stream)
    await stream.aclose()


def test_lines_of_another_release_are_passed_over() -> None:
    taken: list[Event] = []
    reader = following(taken)
    lines = [b'{"kind":"newfangled"}', b"", b"{", msgspec.json.encode(started("a"))]
    reader._lines(lines)  # pyright: ignore[reportPrivateUsage]
    assert [event.call for event in taken] == ["a"]

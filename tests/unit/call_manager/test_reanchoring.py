"""Which calls' media are led anew, where, and when again."""

from __future__ import annotations

from typing import Any

import pytest

from services.call_manager.calls import Call, Calls
from services.call_manager.lost_media import Outages
from services.call_manager.reanchoring import (
    AGAIN,
    ATTEMPTS,
    GONE,
    UNCARRIED,
    Move,
    Reanchoring,
    preferred,
)
from services.call_manager.routing.sequence import TURNS
from services.call_manager.tables import MediaServer
from services.core.events import Answered, Moved, Side, Started

COMMON: dict[str, Any] = {"call": "c", "server": "cm1", "tenant": "t"}
NOW = 1000.0


def call(kinds: str = "pp", at: float = 900.0, **more: Any) -> Call:
    started = Started(
        id="s", time=at, direction="internal", caller="1", callee="2", media="m1", **COMMON
    )
    answered = Answered(id="a", time=at + 1, media="m1", kinds=kinds, **COMMON)
    return Call(started=started, answered=answered, **more)


def servers(*, homes: bool = False, by: str = "", second: str = "up") -> dict[str, MediaServer]:
    found = {
        name: MediaServer(
            name=name,
            set=number,
            control=f"10.0.0.{number}:2223",
            announce="",
            capacity=10,
            home=f"10-0-0-{number}" if homes else "",
            by=name if homes else "",
        )
        for number, name in enumerate(("m1", "m2"), 1)
    }
    found["m2"] = MediaServer(**{**_fields(found["m2"]), "state": second})
    if by:
        found["m1"] = MediaServer(**{**_fields(found["m1"]), "by": by, "state": "down"})
    return found


def _fields(server: MediaServer) -> dict[str, Any]:
    return {name: getattr(server, name) for name in server.__struct_fields__}


class Seen:
    """What the agent sees, at a time that is said each time."""

    def __init__(self) -> None:
        self.outages = Outages()
        self.decided = Reanchoring(self.outages)
        self.outages.see("m1", 500, NOW)
        self.outages.see("m2", 500, NOW)

    def due(
        self,
        up: Call,
        known: dict[str, MediaServer],
        now: float = NOW,
        *,
        lost: tuple[str, ...] = (),
    ) -> list[Move]:
        self.decided.see([up], known, {}, lost, now)
        return self.decided.due(now)


def test_a_call_that_is_well_is_left_alone() -> None:
    for known in (servers(), servers(homes=True)):
        for kinds in ("pp", "wp"):
            assert Seen().due(call(kinds), known) == []


@pytest.mark.parametrize(
    ("kinds", "moves"), [("pp", 0), ("sp", 0), ("wp", 1), ("pwr", 1), ("ppt", 1)]
)
def test_who_takes_an_address_over_lacks_ice_and_dtls_only(kinds: str, moves: int) -> None:
    found = Seen().due(call(kinds), servers(homes=True, by="m2"))
    assert [move.media for move in found] == ["m2"] * moves
    assert all(not move.asked for move in found)


def test_a_server_that_is_silent_is_left_when_it_has_been_for_a_while() -> None:
    seen = Seen()
    seen.outages.see("m1", None, NOW)
    assert seen.due(call(), servers(), NOW + GONE - 0.1) == []
    (move,) = seen.due(call(), servers(), NOW + GONE)
    assert (move.media, move.first, move.turn, move.attempt) == ("m2", "caller", 1, 0)
    assert seen.decided.under_way == {"c"}
    # It is under way.
    assert seen.due(call(), servers(), NOW + GONE + 1) == []


def test_where_another_one_may_take_the_address_it_gets_the_time() -> None:
    seen = Seen()
    seen.outages.see("m1", None, NOW)
    assert seen.due(call(), servers(homes=True), NOW + UNCARRIED - 0.1) == []
    assert len(seen.due(call(), servers(homes=True), NOW + UNCARRIED)) == 1


def test_the_managers_word_is_enough() -> None:
    seen = Seen()
    assert [move.media for move in seen.due(call(), servers(), lost=("m1",))] == ["m2"]
    assert Seen().due(call(), servers(homes=True), lost=("m1",)) == []


def test_with_nobody_to_take_it_a_call_is_not_held_up() -> None:
    seen = Seen()
    seen.outages.see("m1", None, NOW)
    assert seen.due(call(), servers(second="down"), NOW + GONE) == []
    assert seen.decided.under_way == set()


def test_a_server_that_has_started_anew_is_asked_whether_it_has_the_call() -> None:
    seen = Seen()
    seen.outages.see("m1", 5, NOW + 10)
    (move,) = seen.due(call(), servers(), NOW + 10)
    assert (move.media, move.asked) == ("m1", True)
    seen = Seen()
    seen.outages.see("m1", 5, NOW + 10)
    seen.outages.keep("c")
    assert seen.due(call(), servers(), NOW + 10) == []
    # What was restored from its mirror it has, and it does not work.
    (move,) = seen.due(call("wp"), servers(homes=True), NOW + 10)
    assert (move.media, move.asked) == ("m1", False)
    assert Seen().due(call("pp"), servers(homes=True), NOW + 10) == []


@pytest.mark.parametrize(
    ("kinds", "first"),
    [("pp", "caller"), ("wp", "callee"), ("ps", "caller"), ("ww", "caller"), ("pw", "caller")],
)
def test_a_browser_is_not_asked_for_an_offer_if_the_other_may_be(kinds: str, first: str) -> None:
    assert preferred(call(kinds)) == first


def failing() -> tuple[Seen, Move]:
    seen = Seen()
    (move,) = seen.due(call("wp"), servers(homes=True, by="m2"))
    return seen, move


def test_what_is_refused_for_the_moment_is_tried_again() -> None:
    seen, move = failing()
    now = NOW
    for attempt in range(1, ATTEMPTS):
        seen.decided.settled(move, 491, now)
        assert seen.due(call("wp"), servers(homes=True, by="m2"), now + AGAIN - 0.1) == []
        now += AGAIN
        (move,) = seen.due(call("wp"), servers(homes=True, by="m2"), now)
        assert (move.attempt, move.turn, move.first) == (attempt, 1, "callee")
    assert seen.decided.under_way == {"c"}
    seen.decided.settled(move, 408, now)
    assert seen.due(call("wp"), servers(homes=True, by="m2"), now + 100) == []
    assert seen.decided.under_way == set()


def test_what_one_refuses_to_say_the_other_is_asked() -> None:
    seen, move = failing()
    seen.decided.settled(move, 488, NOW)
    (move,) = seen.due(call("wp"), servers(homes=True, by="m2"))
    assert (move.first, move.attempt) == ("caller", 1)
    seen.decided.settled(move, 488, NOW)
    assert seen.due(call("wp"), servers(homes=True, by="m2"), NOW + 100) == []


def test_numbers_that_are_too_low_are_raised() -> None:
    seen, move = failing()
    seen.decided.settled(move, 500, NOW)
    (move,) = seen.due(call("wp"), servers(homes=True, by="m2"), NOW + AGAIN)
    assert (move.turn, move.attempt) == (2, 1)


def test_a_party_that_has_no_such_dialog_has_left() -> None:
    seen, move = failing()
    seen.decided.settled(move, 481, NOW)
    assert seen.decided.under_way == set()


def test_what_another_agent_began_is_begun_anew() -> None:
    known = servers(homes=True, by="m2")
    (move,) = Seen().due(call("wp", turn=2), known)
    assert move.turn == 3
    assert Seen().due(call("wp", turn=TURNS), known) == []


def moved(turn: int, *, done: bool, media: str = "m2") -> Moved:
    side = Side(tag="x", target="<sip:x>")
    return Moved(
        **{**COMMON, "id": f"m{turn}{done}", "time": NOW + turn},
        media=media,
        turn=turn,
        done=done,
        caller=side if done else None,
        callee=side if done else None,
    )


def test_a_call_is_where_it_was_led_last() -> None:
    calls = Calls()
    up = call("wp")
    assert up.answered is not None
    begun = up.started, up.answered
    calls.apply([*begun, moved(1, done=False)], NOW)
    found = calls.up["c"]
    assert (found.media, found.turn, found.reached) == ("m1", 1, up.answered)
    calls.apply([moved(2, done=True), moved(1, done=True, media="m3")], NOW)
    assert (found.media, found.turn, found.since) == ("m2", 2, NOW + 2)
    assert found.reached is not None
    assert found.reached.caller == Side(tag="x", target="<sip:x>")
    known = servers(homes=True, by="m2")
    # It is where it was led, so nothing is due; nor after a restart of the server that it has left.
    assert Seen().due(found, known) == []
    # Told before its beginning it is the same.
    late = Calls()
    late.apply([moved(2, done=True), moved(1, done=False), *begun], NOW)
    assert (late.up["c"].media, late.up["c"].turn) == ("m2", 2)

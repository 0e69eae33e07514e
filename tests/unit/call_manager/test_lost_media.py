"""Which calls are ended because their media server is gone for good."""

from __future__ import annotations

from typing import Any

from services.call_manager.calls import Call
from services.call_manager.lost_media import AGAIN, PATIENCE, Lost, Outages
from services.core.events import Answered, Started


def call(name: str, *, at: float, media: str = "m1", won: str = "") -> Call:
    common: dict[str, Any] = {"call": name, "server": "cm1", "tenant": "t"}
    started = Started(
        id=f"s{name}", time=at, direction="internal", caller="1", callee="2", media=media, **common
    )
    return Call(started=started, answered=Answered(id=f"a{name}", time=at + 1, media=won, **common))


def test_a_server_that_stays_away_loses_its_calls() -> None:
    outages, up = (
        Outages(),
        [call("a", at=100), call("b", at=100, won="m2"), call("c", at=1, media="")],
    )
    outages.see("m1", 50, 110)
    outages.see("m2", 50, 110)
    outages.see("m1", None, 112)
    assert outages.lost(up, {"m2"}, 112 + PATIENCE - 1) == []
    # Its own check is believed before our not reaching it.
    assert outages.lost(up, {"m1", "m2"}, 112 + PATIENCE) == []
    assert outages.lost(up, {"m2"}, 112 + PATIENCE) == [Lost("a", "m1", True)]
    outages.ended("a", 132)
    assert outages.lost(up, {"m2"}, 133) == []
    assert outages.lost(up, {"m2"}, 132 + AGAIN) == [Lost("a", "m1", True)]


def test_a_server_that_was_only_slow_loses_nothing() -> None:
    outages, up = Outages(), [call("a", at=100)]
    outages.see("m1", None, 112)
    outages.see("m1", 62, 122)
    outages.see("m1", None, 124)
    assert outages.lost(up, (), 124 + PATIENCE - 1) == []


def test_an_rtpengine_that_started_anew_has_lost_what_was_before() -> None:
    outages, up = Outages(), [call("a", at=100), call("b", at=130)]
    outages.see("m1", 3, 128)
    assert outages.lost(up, {"m1"}, 128) == [Lost("a", "m1", False)]
    # It was asked, and a re-INVITE had brought the call back.
    outages.keep("a")
    assert outages.lost(up, {"m1"}, 130) == []
    outages.see("m1", 1, 140)
    assert outages.lost([up[1]], {"m1"}, 140) == [Lost("b", "m1", False)]


def test_a_second_restart_is_asked_about_again() -> None:
    outages, up = Outages(), [call("a", at=100)]
    outages.see("m1", 3, 128)
    outages.keep("a")
    outages.see("m1", 1, 160)
    assert outages.lost(up, {"m1"}, 160) == [Lost("a", "m1", False)]

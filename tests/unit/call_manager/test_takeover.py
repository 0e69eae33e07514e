"""What is told to Kamailio when the VIP comes or goes."""

from __future__ import annotations

from typing import Any

from services.call_manager.calls import Call, Calls
from services.call_manager.takeover import (
    counted_elsewhere,
    is_own,
    left,
    parties,
    restoration,
    to_restore,
)
from services.core.events import Answered, Ended, Ringing, Started, end_id

OWN = ("cm2", "t2")


def started(call: str, server: str = "cm1", term: str = "t1", **more: Any) -> Started:
    return Started(
        id=f"s-{call}",
        call=call,
        time=1.0,
        server=server,
        tenant="acme",
        term=term,
        direction="internal",
        caller="2001",
        callee="2002",
        tag="tag",
        cseq="2",
        held=("all", "t:acme"),
        **more,
    )


def ringing(call: str, time: float = 2.0, server: str = "cm1", **more: Any) -> Ringing:
    fields: dict[str, Any] = {
        "term": "t1",
        "invite": "INVITE sip:2002@acme.example SIP/2.0\r\n\r\n",
        "until": 30.0,
        "first": 0,
        "held": ("all", "t:acme", "u:acme/2002"),
    } | more
    return Ringing(
        id=f"r-{call}-{time}",
        call=call,
        time=time,
        server=server,
        tenant="acme",
        source="udp:192.0.2.1:5060",
        progress="{}",
        record="[]",
        branches=(),
        **fields,
    )


def answered(call: str, server: str = "cm1", term: str = "t1") -> Answered:
    return Answered(
        id=f"a-{call}",
        call=call,
        time=3.0,
        server=server,
        tenant="acme",
        term=term,
        held=("all", "m:m1"),
        payer="acme/2001",
        peer="acme/2002",
    )


def view(*events: Any) -> list[Call]:
    calls = Calls("cm2")
    calls.apply(events, 4.0)
    return list(calls.up.values())


def test_what_others_have_counts_and_what_is_ours_does_not() -> None:
    up = view(
        *(started("a"), ringing("a")),
        *(started("b"), answered("b")),
        started("c", *OWN),
        # Before the agent had a name for the term.
        started("d", "cm2", ""),
        started("e", "cm2", "t0"),
    )
    assert counted_elsewhere(up, OWN, ()) == {
        "all": 3,
        "t:acme": 2,
        "u:acme/2002": 1,
        "m:m1": 1,
    }
    assert counted_elsewhere(up, OWN, {"a"}) == {"all": 2, "t:acme": 1, "m:m1": 1}
    assert counted_elsewhere(up, None, ())["all"] == 5
    assert left(up, *OWN) == ["c", "d"]


def test_who_speaks_is_told_of_what_kamailio_has_no_dialog_of() -> None:
    up = view(started("a"), answered("a"), started("b"), started("c"), answered("c", *OWN))
    assert parties(up, OWN) == {"a": "acme/2001|acme/2002"}


def test_what_rings_is_taken_up_while_there_is_sense_in_it() -> None:
    up = view(
        *(started("a"), ringing("a")),
        *(started("late"), ringing("late", until=-50.0)),
        *(started("b"), ringing("b"), answered("b")),
        *(started("mine"), ringing("mine", 2.0, "cm2", term="t2")),
        started("c"),
    )
    (found,) = to_restore(up, OWN, 5.0)
    assert found.started.call == "a"
    assert restoration(bytes(32), found) is not None


def test_a_later_stage_has_the_invite_of_the_first() -> None:
    (call,) = view(started("a"), ringing("a"), ringing("a", 2.5, invite="", first=1))
    assert call.ringing is not None
    assert call.ringing.first == 1
    assert call.ringing.invite.startswith("INVITE")
    (call,) = view(started("a"), ringing("a", 2.5, invite="", first=1), ringing("a", 2.0))
    assert call.ringing is not None
    assert call.ringing.first == 1
    assert call.ringing.invite.startswith("INVITE")


def test_a_call_that_was_taken_up_is_ours() -> None:
    (call,) = view(started("a"), ringing("a"), ringing("a", 2.5, "cm2", term="t2"))
    assert is_own(call, OWN)
    assert not is_own(call, None)


def end(call: str, server: str, *, up: bool) -> Ended:
    return Ended(
        id=end_id(call, "tag", "" if up else "2"),
        call=call,
        time=9.0,
        server=server,
        tenant="",
        code=200 if up else 480,
        reason="r",
        by="caller" if up else "system",
        answered=up,
    )


def test_who_was_out_of_the_way_cannot_end_an_answered_call() -> None:
    calls = Calls("cm1")
    calls.apply([started("a"), ringing("a"), answered("a", *OWN)], 4.0)
    assert calls.apply([end("a", "cm1", up=False)], 9.0) == []
    assert "a" in calls.up
    (record,) = calls.apply([end("a", "cm2", up=True)], 9.0)
    assert record.event == end_id("a", "tag")


def test_two_who_tell_the_end_tell_of_one_record() -> None:
    calls = Calls("cm1")
    (call,) = view(started("a"), answered("a"))
    assert call.end_id == end("a", "cm2", up=True).id
    calls.apply([started("a"), answered("a")], 4.0)
    ends = [end("a", "cm2", up=True), end("a", "cm1", up=True)]
    assert len(calls.apply(ends, 9.0)) == 1


def test_no_record_is_made_of_what_others_know_better() -> None:
    calls = Calls("cm1")
    assert calls.apply([end("x", "cm2", up=True)], 9.0) == []
    assert calls.apply([], 100.0) == []
    assert calls.apply([end("y", "cm1", up=True)], 100.0) == []
    (record,) = calls.apply([], 200.0)
    assert record.call == "y"

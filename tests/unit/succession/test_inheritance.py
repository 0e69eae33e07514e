"""Whose calls are taken, when, and by whom; and never by two."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.core.configuration import Switch
from services.core.discovery import Instance
from services.core.discovery.model import CheckResult
from services.core.succession.candidates import candidates, members
from services.core.succession.inheritance import (
    LEFTOVERS,
    UNREGISTERED,
    Due,
    Estate,
    EstateState,
    Inheritance,
)

SERVERS = ("ivr1", "ivr2", "ivr3", "ivr4")
OWN = Estate("ivr2", "b")
DEAD = Estate("ivr1", "a")
NONE: frozenset[str] = frozenset()


def test_the_living_are_left_alone() -> None:
    inheritance = Inheritance("ivr2")
    for now in (0.0, 100.0):
        assert inheritance.due({DEAD: "open", OWN: "open"}, OWN, SERVERS, NONE, now) == []


def test_the_dead_ones_share_first_and_its_leftovers_later() -> None:
    inheritance = Inheritance("ivr2")
    estates: dict[Estate, EstateState] = {DEAD: "open", Estate("ivr1", "z"): "open"}
    first = inheritance.due(estates, OWN, SERVERS, {"ivr1"}, 5.0)
    assert first == [Due(DEAD, False), Due(Estate("ivr1", "z"), False)]
    later = inheritance.due(estates, OWN, SERVERS, {"ivr1"}, 5.0 + LEFTOVERS)
    assert all(due.whole for due in later)
    assert len(later) == 2


def test_what_a_server_begins_when_it_is_back_is_its_own() -> None:
    inheritance = Inheritance("ivr2")
    new = Estate("ivr1", "c")
    assert inheritance.due({DEAD: "open"}, OWN, SERVERS, {"ivr1"}, 0) == [Due(DEAD, False)]
    found = inheritance.due({DEAD: "open", new: "open"}, OWN, SERVERS, NONE, 0.5)
    assert found == [Due(DEAD, False)]
    again = inheritance.due({new: "open"}, OWN, SERVERS, {"ivr1"}, 9)
    assert again == [Due(new, False)]


def test_what_was_left_is_taken_though_its_server_is_well() -> None:
    assert Inheritance("ivr2").due({DEAD: "left"}, OWN, SERVERS, NONE, 0) == [Due(DEAD, False)]


def test_what_an_earlier_life_left_is_taken_whole_and_at_once() -> None:
    earlier = Estate("ivr2", "a")
    found = Inheritance("ivr2").due({earlier: "open", OWN: "open"}, OWN, SERVERS, NONE, 0)
    assert found == [Due(earlier, True)]


def test_a_server_that_nobody_knows_is_gone_after_a_while() -> None:
    inheritance = Inheritance("ivr2")
    others = ("ivr2", "ivr3")
    assert inheritance.due({DEAD: "open"}, OWN, others, NONE, 0) == []
    assert inheritance.due({DEAD: "open"}, OWN, SERVERS, NONE, UNREGISTERED) == []
    assert inheritance.due({DEAD: "open"}, OWN, others, NONE, UNREGISTERED + 1) == []
    found = inheritance.due({DEAD: "open"}, OWN, others, NONE, 2 * UNREGISTERED + 1)
    assert found == [Due(DEAD, False)]


def test_who_may_not_takes_nothing() -> None:
    due = Due(DEAD, whole=True)
    assert Inheritance("ivr2").share(due, ["x"], ("ivr3",)) == []


def test_who_left_is_nobodys_successor() -> None:
    """It may be registered still when the others look."""
    calls = [str(number) for number in range(100)]
    found = Inheritance("ivr2").share(Due(DEAD, False), calls, ("ivr1", "ivr2"))
    assert found == calls


seen = st.fixed_dictionaries({server: st.sets(st.sampled_from(SERVERS)) for server in SERVERS[1:]})


@given(st.sets(st.text(max_size=12), max_size=60), seen, st.permutations([*SERVERS[1:]] * 3))
def test_each_call_is_gone_on_with_once(
    calls: set[str], down: dict[str, set[str]], turns: list[str]
) -> None:
    """Survivors see what they like, in any order; a step of Redis is one survivor's alone."""
    there = set(calls)
    taken = Counter[str]()
    survivors = {server: Inheritance(server) for server in SERVERS[1:]}
    for turn, server in enumerate([*turns, *SERVERS[1:]]):
        now = turn * LEFTOVERS / 4
        servers = [one for one in SERVERS if one not in down[server] - {server} and one != "ivr1"]
        own = Estate(server, "b")
        for due in survivors[server].due({DEAD: "open"}, own, SERVERS, {"ivr1"}, now):
            share = survivors[server].share(due, sorted(there), servers)
            taken.update(there.intersection(share))
            there.difference_update(share)
    assert not there
    assert set(taken) == calls
    assert set(taken.values()) <= {1}


@given(st.sets(st.text(max_size=12)))
def test_who_all_see_the_same_share_at_once(calls: set[str]) -> None:
    shares = [
        call
        for server in SERVERS[1:]
        for call in Inheritance(server).share(Due(DEAD, False), calls, SERVERS[1:])
    ]
    assert Counter(shares) == Counter(calls)


def instance(server: str, status: str = "passing", cluster: str = "c") -> Instance:
    check = CheckResult(id="x", name="x", status=status)  # type: ignore[arg-type]
    meta = {"cluster": cluster, "server": server}
    return Instance(id=server, name="ivr", node="n", address="a", meta=meta, checks=(check,))


def test_who_may_go_on_with_calls() -> None:
    known = members(
        [
            instance("ivr1"),
            instance("ivr2", "critical"),
            instance("ivr3"),
            instance("ivr4"),
            instance("ivr5"),
            instance("ivr9", cluster="other"),
        ],
        "c",
    )
    switches = {"ivr4": Switch(state="draining"), "ivr5": Switch(state="disabled")}
    assert candidates(known, {"ivr3"}, switches) == ("ivr1",)

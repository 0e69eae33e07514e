"""Which media servers may get calls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.balancer import FORGET, HOLD, Fleet, carrier, set_numbers
from services.core.configuration import Switch
from services.core.discovery import CheckResult, Instance, Status


def instance(name: str, status: Status = "passing", **meta: str) -> Instance:
    values = {
        "cluster": "c",
        "server": name,
        "capacity": "50",
        "control": f"{name}:2223",
        "announce": f"{name}:5090",
    }
    return Instance(
        id=f"c-media-{name}",
        name="media",
        node="n",
        address="",
        meta=values | meta,
        checks=(CheckResult(id="x", name="x", status=status),),
    )


def states(
    fleet: Fleet, switches: dict[str, Switch] | None = None, loaded: set[int] | None = None
) -> dict[str, str]:
    known = set(fleet.sets()) if loaded is None else loaded
    return {one.name: one.state for one in fleet.servers(switches or {}, known)}


def test_a_passing_server_is_up_and_others_are_down() -> None:
    fleet = Fleet("c")
    fleet.see([instance("a"), instance("b", "critical"), instance("w", "warning")], 0)
    assert states(fleet) == {"a": "up", "b": "down", "w": "down"}


def test_the_administrators_word_wins() -> None:
    fleet = Fleet("c")
    fleet.see([instance("a"), instance("b"), instance("d", "critical")], 0)
    switches = {
        "a": Switch(state="draining"),
        "b": Switch(state="disabled"),
        "d": Switch(state="disabled"),
        "unknown": Switch(state="disabled"),
    }
    assert states(fleet, switches) == {"a": "draining", "b": "disabled", "d": "disabled"}


def test_no_call_for_a_server_that_kamailio_does_not_know_yet() -> None:
    fleet = Fleet("c")
    fleet.see([instance("a"), instance("b")], 0)
    numbers = set_numbers(["a", "b"])
    assert states(fleet, loaded={numbers["b"]}) == {"a": "down", "b": "up"}


def test_foreign_and_half_registered_servers_are_left_out() -> None:
    fleet = Fleet("c")
    fleet.see([instance("x", cluster="other"), instance("y", capacity="many"), instance("a")], 0)
    assert states(fleet) == {"a": "up"}


def test_a_server_that_left_is_down_then_forgotten() -> None:
    fleet = Fleet("c")
    fleet.see([instance("a"), instance("b")], 0)
    fleet.see([instance("a")], 10)
    assert states(fleet) == {"a": "up", "b": "down"}
    assert len(fleet.sets()) == 2
    fleet.see([instance("a")], 10 + FORGET)
    assert states(fleet) == {"a": "up"}


def test_an_empty_registry_is_not_believed_at_once() -> None:
    fleet = Fleet("c")
    fleet.see([instance("a")], 0)
    fleet.see([], 100)
    assert states(fleet) == {"a": "up"}
    fleet.tick(100 + HOLD - 0.1)
    assert states(fleet) == {"a": "up"}
    fleet.tick(100 + HOLD)
    assert states(fleet) == {"a": "down"}
    fleet.see([instance("a")], 200)
    assert states(fleet) == {"a": "up"}
    fleet.see([], 300)
    assert states(fleet) == {"a": "up"}


def test_a_restarted_agent_begins_with_the_last_picture() -> None:
    first = Fleet("c")
    first.see([instance("a"), instance("b", "critical")], 0)
    second = Fleet("c")
    second.restore(first.servers({}, set(first.sets())), 0)
    assert states(second) == {"a": "up", "b": "down"}
    assert second.sets() == first.sets()


@given(names=st.sets(st.text(min_size=1, max_size=8), max_size=50))
def test_set_numbers_are_distinct_and_fit_the_column(names: set[str]) -> None:
    numbers = set_numbers(names)
    assert len(set(numbers.values())) == len(names)
    assert all(0 < number < 2**31 for number in numbers.values())


def test_set_numbers_stay_when_others_come_and_go() -> None:
    few, many = set_numbers(["b", "d"]), set_numbers("abcdefgh")
    assert {name: many[name] for name in few} == few


def by(fleet: Fleet) -> dict[str, tuple[str, str, int]]:
    found = fleet.servers({}, set(fleet.sets()))
    return {one.name: (one.state, one.by, one.set) for one in found}


def test_calls_go_where_the_address_is() -> None:
    fleet = Fleet("c")
    numbers = set_numbers(["a", "b", "fixed"])
    fleet.see([instance("a", home="x"), instance("b", home="y"), instance("fixed")], 0)
    fleet.see_holders({"x": "a", "y": "b", "spare": "a"})
    assert by(fleet) == {
        "a": ("up", "a", numbers["a"]),
        "b": ("up", "b", numbers["b"]),
        "fixed": ("up", "", numbers["fixed"]),
    }
    fleet.see_holders({"x": "b", "y": "b"})
    # Calls of a's are at b; new ones have to be set up on an address of b's own.
    assert by(fleet)["a"] == ("down", "b", numbers["b"])
    assert by(fleet)["b"] == ("up", "b", numbers["b"])
    known = fleet.servers({}, set(fleet.sets()))
    found = carrier(known, "a")
    assert found is not None
    assert found.control == "b:2223"
    assert carrier(known, "nobody") is None


def test_who_carries_the_calls_says_whether_they_are_well() -> None:
    fleet = Fleet("c")
    fleet.see([instance("a", "critical", home="x"), instance("b", home="y")], 0)
    fleet.see_holders({"x": "a", "y": "b"})
    assert fleet.passing == {"b"}
    fleet.see_holders({"x": "b", "y": "b"})
    assert fleet.passing == {"a", "b"}
    # An address that nobody known has, or nobody at all, carries nothing new.
    fleet.see_holders({"x": "gone"})
    assert by(fleet)["a"][:2] == ("down", "a")
    assert by(fleet)["b"][:2] == ("down", "b")


def test_what_the_detector_has_lost_gets_no_new_calls() -> None:
    fleet = Fleet("c")
    fleet.see([instance("a", home="x"), instance("b")], 0)
    fleet.see_holders({"x": "a"})
    fleet.see_lost(["a", "b"])
    assert states(fleet) == {"a": "down", "b": "down"}
    fleet.see_lost([])
    assert states(fleet) == {"a": "up", "b": "up"}


def test_a_call_manager_that_starts_knows_where_calls_were_taken() -> None:
    before = Fleet("c")
    before.see([instance("a", home="x"), instance("b", home="y")], 0)
    before.see_holders({"x": "b", "y": "b"})
    fleet = Fleet("c")
    fleet.restore(before.servers({}, set(before.sets())), 0)
    assert by(fleet) == by(before)

"""Number plans, permissions, route matching."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.call_manager.routing import dialling
from services.core.configuration import NumberPlan, Route, RouteTrunk, Trunk

GERMANY = NumberPlan(country="49", international="00", national="0")
AMERICA = NumberPlan(country="1", international="011", national="1")
SPAIN = NumberPlan(country="34", international="00", national="")
OUTSIDE = NumberPlan(country="49", international="00", national="0", outside="9")


@pytest.mark.parametrize(
    ("plan", "dialled", "number"),
    [
        (GERMANY, "+4930123", "+4930123"),
        (GERMANY, "004330123", "+4330123"),
        (GERMANY, "030123", "+4930123"),
        (GERMANY, "30123", None),
        (GERMANY, "0", None),
        (GERMANY, "00", None),
        (GERMANY, "+" + "1" * 16, None),
        (AMERICA, "12125550100", "+12125550100"),
        (AMERICA, "0114930123", "+4930123"),
        (SPAIN, "912345678", "+34912345678"),
        (OUTSIDE, "9030123", "+4930123"),
        (OUTSIDE, "90049301", "+49301"),
        (OUTSIDE, "030123", None),
        (OUTSIDE, "+4930123", "+4930123"),
        (OUTSIDE, "9", None),
        (NumberPlan(), "030123", None),
    ],
)
def test_normalise(plan: NumberPlan, dialled: str, number: str | None) -> None:
    assert dialling.normalise(dialled, plan) == number


@given(st.text(max_size=80))
def test_digits_gives_a_number_or_nothing(text: str) -> None:
    found = dialling.digits(text)
    assert found is None or (found.removeprefix("+").isdecimal() and found.isascii())


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+49 (30) 12-3", "+4930123"),
        ("030.123;phone-context=x", "030123"),
        ("alice", None),
        ("٣٤٥", None),
        ("1" * 40, None),
        ("", None),
    ],
)
def test_digits(text: str, number: str | None) -> None:
    assert dialling.digits(text) == number


plans = st.builds(
    NumberPlan,
    country=st.text("123456789", max_size=3),
    international=st.text("01", max_size=3),
    national=st.text("01", max_size=2),
    outside=st.text("0189", max_size=2),
)


@given(st.from_regex(r"\+?[0-9]{1,20}", fullmatch=True), plans)
def test_what_is_normalised_is_e164_and_stays_so(dialled: str, plan: NumberPlan) -> None:
    number = dialling.normalise(dialled, plan)
    if number is not None:
        assert number[0] == "+"
        assert number[1:].isdecimal()
        assert number[1] != "0"
        assert len(number) <= 16
        assert dialling.normalise(number, plan) == number


@given(st.text(max_size=40))
def test_numbers_of_trunks_are_e164(text: str) -> None:
    for trunk in (PLAIN, GERMAN, AMERICAN):
        for number in dialling.from_trunk(text, trunk):
            assert number[0] == "+"
            assert number[1:].isdecimal()


PLAIN = Trunk(name="t", host="h")
GERMAN = Trunk(name="t", host="h", country="49")
AMERICAN = Trunk(name="t", host="h", country="1", international="011", national="1")
SPANISH = Trunk(name="t", host="h", country="34", national="")


@pytest.mark.parametrize(
    ("trunk", "sent", "number"),
    [
        (PLAIN, "+4930123", "+4930123"),
        (PLAIN, "004930123", "+4930123"),
        (PLAIN, "4930123", "+4930123"),
        (PLAIN, "030123", None),
        (PLAIN, "trunk-a", None),
        (GERMAN, "+4930123", "+4930123"),
        (GERMAN, "004330123", "+4330123"),
        (GERMAN, "4930123", "+4930123"),
        (GERMAN, "030123", "+4930123"),
        (GERMAN, "+49-30-123;npdi;rn=+4930", "+4930123"),
        (GERMAN, "4330123", "+4330123"),
        (AMERICAN, "2125550100", "+12125550100"),
        (AMERICAN, "12125550100", "+12125550100"),
        (AMERICAN, "0114930123", "+4930123"),
        (SPANISH, "912345678", "+34912345678"),
        (SPANISH, "34912345678", "+34912345678"),
    ],
)
def test_numbers_of_trunks(trunk: Trunk, sent: str, number: str | None) -> None:
    assert next(dialling.from_trunk(sent, trunk), None) == number


def test_a_national_number_without_prefix_is_tried_too() -> None:
    assert list(dialling.from_trunk("30123", GERMAN)) == ["+30123", "+4930123"]


@pytest.mark.parametrize(
    ("number", "plan", "needed"),
    [
        ("+4930", GERMANY, "national"),
        ("+43", GERMANY, "international"),
        ("115", GERMANY, "national"),
        ("+4930", NumberPlan(), "international"),
    ],
)
def test_permission_for(number: str, plan: NumberPlan, needed: str) -> None:
    assert dialling.permission_for(number, plan) == needed


patterns = st.from_regex(r"\+?[0-9]{0,4}\*?", fullmatch=True).filter(lambda p: p.strip("*+"))


@given(st.lists(patterns, min_size=1, max_size=6), st.from_regex(r"\+?[0-9]{1,8}", fullmatch=True))
def test_the_longest_match_wins(names: list[str], number: str) -> None:
    routes = [Route(name=str(i), match=(p,), trunks=()) for i, p in enumerate(names)]
    found = dialling.RouteTable(routes).find(number, "t")
    fitting = [
        (len(p.rstrip("*")) + (0 if p.endswith("*") else 100), -i)
        for i, p in enumerate(names)
        if (p.endswith("*") and number.startswith(p[:-1])) or p == number
    ]
    assert (found is None) == (not fitting)
    if found is not None:
        assert int(found.name) == -max(fitting)[1]


def test_routes_of_other_tenants_are_passed_over() -> None:
    special = Route(name="x", match=("+49*",), trunks=(), tenants=("a",))
    common = Route(name="y", match=("+*",), trunks=())
    table = dialling.RouteTable([special, common])
    assert table.find("+4930", "a") is special
    assert table.find("+4930", "b") is common


@pytest.mark.parametrize(
    ("strip", "prepend", "plus", "sent"),
    [
        (0, "", False, "+4930"),
        (0, "", True, "4930"),
        (2, "0", False, "030"),
        (0, "00", False, "004930"),
        (2, "", False, "30"),
        (0, "+1", True, "14930"),
    ],
)
def test_what_a_trunk_is_sent(strip: int, prepend: str, plus: bool, sent: str) -> None:
    route = Route(name="r", match=("+*",), trunks=(), strip=strip, prepend=prepend)
    trunk = Trunk(name="t", host="h", strip_plus=plus)
    assert dialling.presented("+4930", route, trunk) == sent


def test_trunks_go_by_cost_then_by_the_specs_order() -> None:
    costs = {"a": 2.0, "b": 1.0, "c": 1.0, "gone": 0.0}
    route = Route(
        name="r",
        match=("+*",),
        trunks=tuple(RouteTrunk(trunk=n, cost=c) for n, c in costs.items()),
    )
    trunks = {n: Trunk(name=n, host="h") for n in "abc"}
    assert [name for name, _ in dialling.outbound(route, "+49", trunks).trunks] == ["b", "c", "a"]

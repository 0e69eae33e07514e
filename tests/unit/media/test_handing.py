from __future__ import annotations

from services.core.discovery import CheckResult, Instance
from services.media.handing import AGAIN, GIVE_BACK, Fleet, Handing


def instance(server: str, *, passing: bool = True) -> Instance:
    return Instance(
        id=f"x-media-{server}",
        name="media",
        node=server,
        address="10.0.0.1",
        meta={"server": server, "home": f"home-of-{server}"},
        checks=(CheckResult(id="x", name="x", status="passing" if passing else "critical"),),
    )


def fleet(server: str, *passing: str) -> Fleet:
    found = Fleet(server)
    found.see([instance(name, passing=name in passing) for name in ("a", "b", "c")])
    return found


def test_an_address_goes_back_when_its_server_has_been_well_for_a_while() -> None:
    handing, found = Handing("a"), fleet("a", "a", "b")
    assert handing.candidate("home-of-b", found, 100.0) == "b"
    found.said("b", True, 100.0)
    assert not handing.due("b", found, 100.0 + GIVE_BACK - 0.1)
    assert handing.due("b", found, 100.0 + GIVE_BACK)
    # It failed once on the way: the time begins anew.
    found.said("b", False, 103.0)
    found.said("b", True, 104.0)
    assert not handing.due("b", found, 100.0 + GIVE_BACK)
    assert handing.due("b", found, 104.0 + GIVE_BACK)


def test_what_a_server_has_said_before_a_take_over_does_not_count_after_it() -> None:
    handing, found = Handing("a"), fleet("a", "a", "b")
    found.said("b", True, 0.0)
    found.forget({"b"})
    assert not handing.due("b", found, 1000.0)


def test_no_address_is_for_who_does_not_pass_or_is_switched_off() -> None:
    handing, found = Handing("a"), fleet("a", "a", "b")
    assert handing.candidate("home-of-a", found, 0.0) == ""
    assert handing.candidate("home-of-c", found, 0.0) == ""
    assert handing.candidate("of nobody", found, 0.0) == ""
    found.switches = {"b": "disabled"}
    assert handing.candidate("home-of-b", found, 0.0) == ""
    found.said("b", True, 0.0)
    assert not handing.due("b", found, 1000.0)


def test_a_server_that_drains_hands_over_what_it_has_at_once() -> None:
    handing, found = Handing("a"), fleet("a", "a", "b", "c")
    found.switches = {"a": "draining"}
    to = handing.candidate("home-of-a", found, 1.0)
    assert to in ("b", "c")
    assert handing.candidate("home-of-a", found, 2.0) == to
    assert not handing.due(to, found, 2.0)
    found.said(to, True, 2.0)
    assert handing.due(to, found, 2.0)
    found.switches = {"a": "draining", "b": "disabled"}
    assert handing.candidate("home-of-a", found, 1.0) == "c"
    assert handing.candidate("home-of-c", found, 1.0) == "c"
    found.switches = {"a": "draining", "b": "disabled", "c": "draining"}
    assert handing.candidate("home-of-a", found, 1.0) == ""


def test_what_failed_is_left_alone_for_a_while() -> None:
    handing, found = Handing("a"), fleet("a", "a", "b")
    handing.failed("home-of-b", 50.0)
    assert handing.candidate("home-of-b", found, 50.0 + AGAIN - 0.1) == ""
    assert handing.candidate("home-of-b", found, 50.0 + AGAIN) == "b"


def test_each_server_has_a_place_of_its_own_in_the_line() -> None:
    for home in ("home-of-a", "home-of-b", "home-of-c"):
        others = [name for name in ("a", "b", "c") if not home.endswith(name)]
        assert sorted(fleet(name, "a", "b", "c").rank(home) for name in others) == [0, 1]
    assert sorted(fleet(name, "a", "b", "c").rank("x") for name in ("a", "b", "c")) == [0, 1, 2]
    assert fleet("b", "b").rank("home-of-a") == 0

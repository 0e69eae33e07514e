"""Calls to menus, and calls that application servers make for their callers."""

from __future__ import annotations

import msgspec

from services.call_manager.routing import stages
from services.call_manager.routing.call import (
    Action,
    Authority,
    Caller,
    Dial,
    Onward,
    Outcome,
    Refuse,
    Request,
    Ring,
    Serve,
)
from services.call_manager.routing.onward import request_of
from services.call_manager.routing.server_choice import choose, heir
from services.call_manager.tables import AppServer, MemoryTables, Number, Picture
from services.core.configuration import Cluster, Destination, Forward, Tenant
from services.core.passport import MOST_HOPS, Passport
from tests.unit.routing.examples import (
    PLAN,
    ROUTES,
    TRUNKS,
    destination,
    group,
    inbound,
    request,
    user,
)
from tests.unit.routing.test_stages import run

NUMBER = "+4930100"
GONE = Outcome("unavailable", 503, "No Server", via="app1")


def tables() -> MemoryTables:
    sales = Tenant(
        name="sales",
        domains=("sales.example",),
        main_number=NUMBER,
        plan=PLAN,
        menus={"main": "800", "night": ""},
        ring_groups={"desk": group(("1", 1), then=destination("menu", "night"))},
    )
    forwarding = user("3")
    forwarding = msgspec.structs.replace(
        forwarding, forward=Forward(always=destination("menu", "main"))
    )
    picture = Picture(
        cluster=Cluster(name="c"),
        routes=ROUTES,
        tenants=(sales,),
        trunks=TRUNKS,
        numbers={NUMBER: Number(tenant="sales", destination=destination("menu", "main"))},
    )
    return MemoryTables(picture, [user("1"), user("2"), forwarding])


def main(called: str, *tried: str) -> Serve:
    return Serve("ivr", "sales", "menu", "main", called, tried)


def onward(to: Destination, **more: object) -> Request:
    """A call of an IVR server's, for a caller from outside."""
    return Request(
        caller=Caller(number="+491711234567"),
        authority=Authority("sales", "", "international", NUMBER),
        dialled=to.target,
        onward=Onward(to, called=NUMBER, **more),  # type: ignore[arg-type]
    )


def test_a_number_leads_to_a_menu() -> None:
    assert run(inbound(NUMBER), tables()) == [main(NUMBER)]


def test_users_dial_a_menu_by_its_extension_and_no_other_way() -> None:
    assert run(request("800"), tables()) == [main("800")]
    assert not isinstance(run(request("night"), tables())[0], Serve)


def test_forwards_and_ring_groups_lead_to_menus() -> None:
    assert run(request("3"), tables()) == [main(NUMBER)]
    found = run(request("desk"), tables(), Outcome("no-answer", 408, "x"))
    assert found[1] == Serve("ivr", "sales", "menu", "night", "")


def test_a_server_that_does_not_answer_is_left_for_the_next() -> None:
    found = run(inbound(NUMBER), tables(), GONE, msgspec.structs.replace(GONE, via="app2"), GONE)
    assert found == [
        main(NUMBER),
        main(NUMBER, "app1"),
        main(NUMBER, "app1", "app2"),
        Refuse(503, "No Server Answers"),
    ]


def test_without_any_server_the_call_ends_at_once() -> None:
    none = msgspec.structs.replace(GONE, via="")
    assert run(inbound(NUMBER), tables(), none) == [main(NUMBER), Refuse(503, "No Server Answers")]


def test_a_menu_connects_with_an_extension_and_a_group() -> None:
    assert run(onward(destination("extension", "1")), tables()) == [
        Ring("sales", ("1",), stages.RING, True)
    ]
    found = run(onward(destination("ring_group", "desk")), tables())
    assert found == [Ring("sales", ("1",), 25)]


def test_who_is_not_there_is_told_by_status_and_not_by_an_announcement() -> None:
    found = run(onward(destination("extension", "9")), tables())
    assert found == [Refuse(404, "Not Found")]
    caller = Caller("sales", "2")
    busy = msgspec.structs.replace(onward(destination("extension", "1")), caller=caller)
    assert run(busy, tables(), Outcome("busy", 486, "Busy Here"))[1] == Refuse(486, "Busy Here")


def test_a_number_out_shows_the_caller_and_what_he_had_called() -> None:
    dial = run(onward(destination("number", "+493012345")), tables())[0]
    assert isinstance(dial, Dial)
    assert (dial.shown, dial.diverted) == (NUMBER, NUMBER)


def test_a_number_that_the_caller_has_chosen_is_called_with_his_rights() -> None:
    """Who calls back from his box calls as if he had dialled it."""

    def asked(extension: str, number: str, *, own: bool = True) -> list[Action]:
        ticket = Passport(
            tenant="sales", kind="number", target=number, extension=extension, own=own
        )
        found = request_of(ticket, tables())
        return run(found, tables()) if found is not None else []

    premium = "+4412345678"
    assert isinstance(asked("1", premium, own=False)[0], Dial)
    assert asked("1", premium) == [Refuse(403, "Forbidden")]
    assert asked("9", premium) == []
    assert request_of(Passport(tenant="gone", kind="number", target=premium), tables()) is None


def test_dialled_digits_never_lead_out() -> None:
    """What a caller dials is an extension of the tenant, or nobody."""
    for digits in ("00493012345", "112", "0301234", "800"):
        found = run(onward(destination("extension", digits)), tables())
        assert found == [Refuse(404, "Not Found")]


def test_menus_that_call_menus_end() -> None:
    to = destination("menu", "main")
    assert run(onward(to, hops=MOST_HOPS - 1), tables()) == [main(NUMBER)]
    assert run(onward(to, hops=MOST_HOPS), tables()) == [Refuse(482, "Loop Detected")]


def server(name: str, **more: object) -> AppServer:
    values = {"role": "ivr", "sip": f"{name}:5070", "capacity": 10, **more}
    return AppServer(name=name, **values)  # type: ignore[arg-type]


def test_a_call_has_one_heir_and_keeps_it() -> None:
    here, gone = server("app1"), server("app1", there=False)
    others = [server(f"app{number}") for number in range(2, 6)]
    unfit = [server("app6", state="draining"), server("app7", there=False), server("q", role="acd")]
    assert heir(here, "c1", [here, *others]) is here
    assert heir(gone, "c1", [gone, *unfit]) is gone
    heirs = {call: heir(gone, call, [gone, *others, *unfit]) for call in map(str, range(200))}
    assert {each.name for each in heirs.values()} == {each.name for each in others}
    for call, found in heirs.items():
        assert heir(gone, call, [each for each in others if each is not others[0]]) == (
            heirs[call] if found is not others[0] else heir(gone, call, others[1:])
        )


def test_the_least_loaded_server_that_was_not_tried() -> None:
    servers = (
        server("app1"),
        server("app2", capacity=100),
        server("app3", state="down"),
        server("app4", state="draining"),
    )
    load = {"app1": 2, "app2": 15}
    found = choose(servers, lambda name: load.get(name, 0), lambda _: False)
    assert found is not None
    assert found.name == "app2"
    found = choose(servers, lambda name: load.get(name, 0), lambda name: name == "app2")
    assert found is not None
    assert found.name == "app1"

"""Where calls go: each rule, and that every call comes to an end."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.call_manager.routing import stages
from services.call_manager.routing.call import (
    Action,
    Announce,
    Dial,
    Outcome,
    Progress,
    Refuse,
    Request,
    Ring,
)
from services.call_manager.tables import MemoryTables
from services.core.configuration import Destination, Forward
from tests.unit.routing.examples import destination, group, inbound, request, tables, user

BUSY = Outcome("busy", 486, "Busy Here")
SILENT = Outcome("no-answer", 408, "Request Timeout")
AWAY = Outcome("unregistered", 480, "Temporarily Unavailable")
LOST = Outcome("unavailable", 503, "Service Unavailable")


def run(wanted: Request, known: MemoryTables, *outcomes: Outcome) -> list[Action]:
    """What is tried, when stages end like this; the last one is what is left after them."""
    progress = stages.begin(wanted, known, 0.0)
    tried = [stages.advance(progress, known, 0.0)]
    for outcome in outcomes:
        stages.report(progress, outcome, known)
        tried.append(stages.advance(progress, known, 0.0))
    return tried


def test_an_extension_rings() -> None:
    assert run(request("2"), tables(user("2"))) == [Ring("sales", ("2",), stages.RING, True)]


@pytest.mark.parametrize(
    ("outcome", "code", "announcement"),
    [(BUSY, 486, "busy"), (SILENT, 480, "unavailable"), (AWAY, 480, "unavailable")],
)
def test_a_tenants_user_hears_why(outcome: Outcome, code: int, announcement: str) -> None:
    known = tables(user("2"))
    tried = run(request("2"), known, outcome, Outcome("failed", code, "x"))
    assert isinstance(tried[1], Announce)
    assert (tried[1].announcement, tried[1].code) == (announcement, code)
    assert tried[2] == Refuse(code, tried[1].reason)


def test_a_decline_is_passed_on_as_it_is() -> None:
    tried = run(request("2"), tables(user("2")), Outcome("declined", 603, "Decline"))
    assert tried[1] == Refuse(603, "Decline")


@pytest.mark.parametrize(
    ("field", "outcome"),
    [
        ("busy", BUSY),
        ("busy", Outcome("declined", 603, "Decline")),
        ("busy", Outcome("full", 486, "Busy Here")),
        ("no_answer", SILENT),
        ("no_answer", LOST),
        ("not_registered", AWAY),
        ("not_registered", LOST),
    ],
)
def test_forwards(field: str, outcome: Outcome) -> None:
    forward = msgspec.structs.replace(Forward(), **{field: destination("extension", "3")})
    known = tables(user("2", forward=forward), user("3"))
    assert run(request("2"), known, outcome)[1] == Ring("sales", ("3",), stages.RING, True)


def test_forward_always_never_rings_the_user() -> None:
    forward = Forward(always=destination("extension", "3"))
    known = tables(user("2", forward=forward), user("3"))
    assert run(request("2"), known) == [Ring("sales", ("3",), stages.RING, True)]


def test_no_answer_decides_how_long_it_rings() -> None:
    forward = Forward(no_answer=destination("extension", "3"), no_answer_after=7)
    (ring,) = run(request("2"), tables(user("2", forward=forward)))
    assert isinstance(ring, Ring)
    assert ring.timeout == 7


def test_group_strategies() -> None:
    members = (("2", 2), ("3", 1), ("4", 2), ("2", 2))
    users = [user(e) for e in "234"]

    def rung(strategy: str) -> list[tuple[str, ...]]:
        known = tables(*users, groups={"g": group(*members, strategy=strategy, timeout=9)})
        tried = run(request("g"), known, BUSY, BUSY, BUSY, BUSY)
        return [a.extensions for a in tried if isinstance(a, Ring)]

    assert rung("simultaneous") == [("2", "3", "4")]
    assert rung("sequential") == [("2",), ("3",), ("4",), ("2",)]
    assert rung("priority") == [("3",), ("2", "4")]


def test_a_groups_then() -> None:
    known = tables(
        user("2"), user("3"), groups={"g": group(("2", 1), then=destination("number", "+49891"))}
    )
    tried = run(request("g", "internal"), known, SILENT)
    # What the administrator has set up goes by his rights, not by the caller's.
    assert isinstance(tried[1], Dial)


def test_numbers_lead_to_any_destination() -> None:
    known = tables(
        user("2"),
        groups={"g": group(("2", 1))},
        numbers={
            "+49301": destination("extension", "2"),
            "+49302": destination("ring_group", "g"),
            "+49303": destination("number", "+49891"),
            "+49304": destination("announcement", "unavailable"),
            "+49305": destination("extension", "99"),
        },
    )
    assert isinstance(run(inbound("49301"), known)[0], Ring)
    assert isinstance(run(inbound("0049302"), known)[0], Ring)
    dial = run(inbound("+49303"), known)[0]
    assert isinstance(dial, Dial)
    assert (dial.diverted, dial.shown) == ("+49303", "+4930100")
    assert isinstance(run(inbound("+49304"), known)[0], Announce)
    assert run(inbound("+49305"), known) == [Refuse(404, "Not Found")]
    assert run(inbound("+49999"), known) == [Refuse(404, "Not Found")]
    assert run(inbound("2"), known) == [Refuse(404, "Not Found")]


def test_outbound_by_cost_with_failover() -> None:
    tried = run(request("0891"), tables(), LOST, LOST)
    assert [a.trunks[0][0] for a in tried if isinstance(a, Dial)] == ["a", "b"]
    assert isinstance(tried[2], Refuse)
    dial = tried[1]
    assert isinstance(dial, Dial)
    assert dial.trunks == (("b", "49891"),)


@pytest.mark.parametrize(
    "outcome",
    [
        BUSY,
        Outcome("unavailable", 404, "x"),
        Outcome("failed", 484, "x"),
        Outcome("declined", 603, "x"),
    ],
)
def test_no_failover_once_the_carrier_has_spoken(outcome: Outcome) -> None:
    assert not isinstance(run(request("0891"), tables(), outcome)[1], Dial)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("unavailable", 408, "x"),
        Outcome("no-answer", 408, "x"),
        Outcome("full", 503, "x"),
        LOST,
    ],
)
def test_failover(outcome: Outcome) -> None:
    assert isinstance(run(request("0891"), tables(), outcome)[1], Dial)


@pytest.mark.parametrize(
    ("dialled", "permission", "allowed"),
    [
        ("0891", "internal", False),
        ("0891", "national", True),
        ("00331", "national", False),
        ("00331", "international", True),
        ("+49402001", "internal", False),
        ("+49402001", "national", True),
    ],
)
def test_permissions(dialled: str, permission: str, allowed: bool) -> None:
    (action,) = run(request(dialled, permission), tables())  # type: ignore[arg-type]
    assert isinstance(action, Ring | Dial) == allowed
    if not allowed:
        assert isinstance(action, Announce)
        assert action.announcement == "not-permitted"


def test_a_forward_goes_by_the_rights_of_who_forwards() -> None:
    forward = Forward(always=destination("number", "0891"))
    for permission, allowed in (("internal", False), ("national", True)):
        known = tables(user("2", forward=forward, permission=permission))
        (action,) = run(request("2", "international"), known)
        assert isinstance(action, Dial) == allowed


def test_a_redirection_goes_by_the_rights_of_who_redirects() -> None:
    known = tables(user("2", permission="internal"), user("3"))

    def redirected(user_part: str, host: str) -> Action:
        outcome = Outcome("redirected", 302, "x", ((user_part, host),))
        return run(request("2", "international"), known, outcome)[1]

    assert isinstance(redirected("3", "sales.example"), Ring)
    assert isinstance(redirected("3", ""), Ring)
    assert isinstance(redirected("3", "other.example"), Announce)
    assert isinstance(redirected("3", "evil.example"), Announce)
    assert not isinstance(redirected("0891", ""), Dial)


def test_emergency_asks_nobody() -> None:
    known = tables(emergency=("0891",))
    for dialled in ("112", "1-1-2", "0891"):
        (dial,) = run(request(dialled, "internal"), known)
        assert isinstance(dial, Dial)
        assert dial.emergency
    tried = run(request("0891", "internal"), known, Outcome("unavailable", 404, "x"))
    assert isinstance(tried[1], Dial)
    assert stages.begin(request("112"), known, 0.0).emergency
    assert not stages.begin(request("0892"), known, 0.0).emergency


def test_another_tenants_extension_is_nobody() -> None:
    known = tables(user("2"))
    (action,) = run(request("2", host="other.example", here=False), known)
    assert isinstance(action, Announce)
    (action,) = run(request("2", host="10.0.0.9", here=False), known)
    assert isinstance(action, Announce)
    (action,) = run(request("2", host="10.0.0.9", here=False, replaces=True), known)
    assert isinstance(action, Ring)


def test_nothing_rings_past_the_end() -> None:
    known = tables(user("2"))
    progress = stages.begin(request("2"), known, 0.0)
    ring = stages.advance(progress, known, stages.MAX_RINGING - 5)
    assert isinstance(ring, Ring)
    assert ring.timeout == 5
    progress = stages.begin(request("2"), known, 0.0)
    assert not isinstance(stages.advance(progress, known, stages.MAX_RINGING + 1), Ring)


@pytest.mark.parametrize(
    ("code", "timed_out", "rang", "kind"),
    [
        (408, True, True, "no-answer"),
        (408, True, False, "unavailable"),
        (302, False, False, "redirected"),
        (486, False, True, "busy"),
        (600, False, False, "busy"),
        (603, False, False, "declined"),
        (480, False, False, "no-answer"),
        (404, False, False, "unavailable"),
        (503, False, False, "unavailable"),
        (488, False, False, "failed"),
    ],
)
def test_classify(code: int, timed_out: bool, rang: bool, kind: str) -> None:
    assert stages.classify(code, timed_out=timed_out, rang=rang) == kind


@pytest.mark.parametrize("code", [415, 488, 606])
def test_a_phone_that_refuses_what_it_is_offered_is_asked_once_more(code: int) -> None:
    known = tables(user("2"))
    progress = stages.begin(request("2"), known, 0.0)
    assert isinstance(stages.advance(progress, known, 0.0), Ring)
    assert not stages.ask_again(progress, 486)
    assert not stages.ask_again(progress, 482)
    assert stages.ask_again(progress, code)
    assert progress.compatible
    assert [stages.ask_again(progress, 482) for _ in range(3)] == [True, True, False]
    assert not progress.compatible
    assert stages.ask_again(progress, code)
    assert not stages.ask_again(progress, code)


# --- whatever is configured, every call ends

EXTENSIONS = [str(n) for n in range(1, 6)]
destinations = st.one_of(
    st.builds(destination, st.just("extension"), st.sampled_from(EXTENSIONS)),
    st.builds(destination, st.just("ring_group"), st.sampled_from(["g", "h"])),
    st.builds(destination, st.just("number"), st.sampled_from(["+49301", "+49302", "0891", "112"])),
    st.builds(destination, st.just("announcement"), st.just("busy")),
)
maybe = st.none() | destinations
forwards = st.builds(
    Forward,
    always=maybe,
    busy=maybe,
    no_answer=maybe,
    not_registered=maybe,
    no_answer_after=st.integers(0, 100),
)
groups = st.builds(
    lambda members, strategy, timeout, then: group(
        *members, strategy=strategy, timeout=timeout, then=then
    ),
    st.lists(st.tuples(st.sampled_from(EXTENSIONS), st.integers(1, 3)), max_size=6),
    st.sampled_from(["simultaneous", "sequential", "priority"]),
    st.integers(0, 100),
    maybe,
)
kinds = st.sampled_from(
    ["unregistered", "busy", "declined", "no-answer", "unavailable", "redirected", "failed", "full"]
)
outcomes = st.builds(
    lambda kind, code, contacts: Outcome(
        kind, 302 if kind == "redirected" else code, "x", contacts
    ),
    kinds,
    st.sampled_from([404, 408, 480, 486, 488, 500, 503, 603]),
    st.lists(
        st.tuples(st.sampled_from([*EXTENSIONS, "g", "0891", "??"]), st.sampled_from(["", "x"])),
        max_size=8,
    ).map(tuple),
)


def endless(draw: st.DataObject) -> Iterator[Outcome]:
    while True:
        yield draw.draw(outcomes)


@settings(deadline=None)
@given(
    st.lists(forwards, min_size=5, max_size=5),
    groups,
    groups,
    st.dictionaries(st.sampled_from(["+49301", "+49302"]), destinations),
    st.sampled_from([*EXTENSIONS, "g", "h", "+49301", "0891", "112", "nobody"]),
    st.booleans(),
    st.data(),
)
def test_every_call_ends(
    configured: list[Forward],
    one: object,
    two: object,
    numbers: dict[str, Destination],
    dialled: str,
    outside: bool,
    draw: st.DataObject,
) -> None:
    users = [
        user(e, forward=f, permission="national")
        for e, f in zip(EXTENSIONS, configured, strict=True)
    ]
    known = tables(*users, groups={"g": one, "h": two}, numbers=numbers)  # type: ignore[dict-item]
    wanted = inbound(dialled) if outside else request(dialled)
    now = 1000.0
    progress = stages.begin(wanted, known, now)
    rung: list[tuple[str, ...]] = []
    action: Action | None = None
    for count, outcome in enumerate(endless(draw)):
        assert count <= 2 * stages.MAX_STEPS
        # It travels as JSON between stages.
        progress = msgspec.json.decode(msgspec.json.encode(progress), type=Progress)
        action = stages.advance(progress, known, now)
        if isinstance(action, Refuse):
            assert 400 <= action.code < 700
            break
        if isinstance(action, Ring):
            assert action.timeout >= 1
            assert now + action.timeout <= 1000.0 + stages.MAX_RINGING
            if action.follow:
                # Nobody is rung twice for himself.
                assert action.extensions not in rung
                rung.append(action.extensions)
            now += action.timeout
        stages.report(progress, outcome, known)
    assert isinstance(action, Refuse)

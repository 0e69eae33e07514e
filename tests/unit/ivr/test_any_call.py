"""Whatever a tenant has set up and whatever comes in: a call goes on, ends, and stays at home."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.core.configuration import Destination
from services.core.menus import (
    KEYS,
    Assign,
    Branch,
    Collect,
    DialExtension,
    DialName,
    Enter,
    Fetch,
    HangUp,
    Hours,
    Menu,
    Play,
    Record,
    Say,
    Sound,
    Speak,
    Transfer,
    Voicemail,
    When,
)
from services.ivr import call as it
from services.ivr.answers import picked
from services.ivr.call import Book, Connected, Over, State
from services.ivr.menu import Machine

NAMES = ("one", "two", "three")
VARIABLES = st.sampled_from(["a", "b", "caller", "digits"])
TEMPLATES = st.sampled_from(["{a}", "{b}x{digits}", "{caller}", "7", "{none}", "{{a}}", ""])
PROMPTS = st.sampled_from(
    [{}, {"en": Sound(text="Hello.")}, {"de": Sound(digest="0" * 64), "en": Sound(text="x")}]
)
SMALL = st.integers(0, 3)
DESTINATIONS = st.builds(
    Destination,
    kind=st.sampled_from(["extension", "ring_group", "number", "voicemail"]),
    target=st.sampled_from(["2001", "sales"]),
)


def lists(step: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(step, max_size=3).map(tuple)


PLAIN = st.one_of(
    st.builds(Play, prompt=PROMPTS),
    st.builds(
        Say,
        kind=st.sampled_from(["number", "digits", "date", "time", "money"]),
        value=TEMPLATES,
        currency=st.sampled_from(["EUR", "XXX"]),
    ),
    st.builds(Enter, menu=st.sampled_from([*NAMES, "gone"])),
    st.builds(Transfer, to=DESTINATIONS),
    st.builds(DialExtension, prompt=PROMPTS, retries=SMALL),
    st.builds(DialName, prompt=PROMPTS, retries=SMALL),
    st.builds(Record, prompt=PROMPTS, most=st.integers(1, 9)),
    st.builds(Assign, variables=st.dictionaries(VARIABLES, TEMPLATES, max_size=2)),
    st.builds(Speak, language=st.sampled_from(["de", "en", "xx"])),
    st.builds(Voicemail, box=st.just("2001")),
    st.builds(HangUp, prompt=PROMPTS),
)


def deeper(step: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(
            Collect,
            prompt=PROMPTS,
            into=VARIABLES,
            least=st.integers(1, 2),
            most=st.integers(2, 4),
            retries=SMALL,
            end=st.sampled_from(["#", "*", ""]),
            otherwise=lists(step),
        ),
        st.builds(
            Fetch,
            url=st.just("https://erp.example/"),
            send=st.dictionaries(VARIABLES, TEMPLATES, max_size=2),
            take=st.dictionaries(VARIABLES, st.sampled_from(["a", "a.0", "b.c"]), max_size=2),
            otherwise=lists(step),
        ),
        st.builds(
            Branch,
            by=TEMPLATES,
            cases=st.dictionaries(st.sampled_from(["7", ""]), lists(step), max_size=2),
            otherwise=lists(step),
        ),
        st.builds(
            When, hours=st.sampled_from(["office", "none"]), open=lists(step), closed=lists(step)
        ),
    )


STEPS = lists(st.recursive(PLAIN, deeper, max_leaves=4))
KEY_LISTS = st.dictionaries(st.sampled_from(["1", "2", "12", "*", "#", "55"]), STEPS, max_size=3)


def menus(name: str) -> st.SearchStrategy[Menu]:
    return st.builds(
        Menu,
        name=st.just(name),
        prompt=PROMPTS,
        before=STEPS,
        keys=KEY_LISTS,
        extensions=st.booleans(),
        retries=SMALL,
        quiet=PROMPTS,
        wrong=PROMPTS,
        otherwise=STEPS,
    )


HOURS = Hours(timezone="Europe/Berlin", open={"mon": ((480, 1080),), "fri": ((1200, 1600),)})
BOOKS = st.tuples(*(menus(name) for name in NAMES)).map(
    lambda all_menus: Book(
        tenant="acme", menus={menu.name: menu for menu in all_menus}, hours={"office": HOURS}
    )
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "c", ""]), below, max_size=3)
    ),
    max_leaves=6,
)
OFFSETS = st.integers(-1, 0)
"""What came last, or the answer to what was asked before it."""
EVENTS = st.one_of(
    st.builds(it.Digit, st.sampled_from(KEYS) | st.text(max_size=3)),
    OFFSETS.map(it.Played),
    st.just(it.Time()),
    st.builds(it.Answered, OFFSETS, JSON),
    st.builds(
        it.Names,
        OFFSETS,
        st.lists(st.tuples(st.just("2001"), st.text(max_size=5)), max_size=10).map(tuple),
        st.booleans(),
    ),
    OFFSETS.map(it.Joined),
    st.builds(it.Refused, OFFSETS, st.sampled_from([404, 480, 486, 503])),
    st.builds(it.Recorded, OFFSETS, st.text(max_size=3)),
    st.just(it.Ended()),
)


def fitted(event: Any, state: State) -> it.Event:
    """The event with a serial that the call may be waiting for."""
    if hasattr(event, "serial"):
        return msgspec.structs.replace(event, serial=state.serial + event.serial)
    return event


def check(machine: Machine, commands: list[it.Command], now: float) -> None:
    state, book = machine.state, machine.book
    assert state.doing is not None
    waits = not isinstance(state.doing, Connected | Over)
    assert (state.deadline > now - 1) == waits
    assert state.tenant == "acme"
    assert it.load(it.dump(state)) == state
    assert len(it.dump(state)) < 64_000
    for value in state.variables.values():
        assert len(value) <= 256
    for command in commands:
        if isinstance(command, it.Ask):
            assert command.url == "https://erp.example/"
            assert command.body["tenant"] == "acme"
        if isinstance(command, it.Connect):
            # A public number and a ring group only as the tenant has set them up.
            known = command.to.target in ("2001", "sales")
            assert known or (command.to.kind == "extension" and command.to.target.isdigit())
    assert set(state.way) <= set(book.menus)


def new(book: Book) -> Machine:
    variables = {"caller": "{called}", "called": "+4930100"}
    return Machine(book, State(call="c", tenant="acme", language="en", variables=variables))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(BOOKS, st.lists(EVENTS, max_size=40), st.sampled_from(["menu", "voicemail"]))
def test_any_call(book: Book, events: list[Any], kind: str) -> None:
    machine, now = new(book), 1_798_023_600.0
    to = Destination(kind=kind, target="one")  # type: ignore[arg-type]
    check(machine, machine.begin(to, now), now)
    for event in events:
        if isinstance(event, it.Time):
            now = max(now, machine.state.deadline)
        over = isinstance(machine.state.doing, Over)
        commands = machine.take(fitted(event, machine.state), now)
        assert not (over and commands)
        check(machine, commands, now)
    # Nobody says anything more: it ends by itself, unless two people talk.
    for _ in range(6 * 300):
        if isinstance(machine.state.doing, Over | Connected):
            break
        now = max(now, machine.state.deadline)
        check(machine, machine.take(it.Time(), now), now)
    assert isinstance(machine.state.doing, Over | Connected)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(BOOKS, BOOKS, st.lists(EVENTS, max_size=20))
def test_any_call_goes_on_elsewhere(book: Book, newer: Book, events: list[Any]) -> None:
    """In another process, with the configuration of the moment."""
    machine, now = new(book), 1_798_023_600.0
    machine.begin(Destination(kind="menu", target="one"), now)
    for event in events:
        machine.take(fitted(event, machine.state), now)
        machine = Machine(newer, it.load(it.dump(machine.state)))
        commands = machine.resume(now)
        check(machine, commands, now)


@given(JSON, st.text(max_size=30))
@example([], "²")
def test_any_answer(answer: object, path: str) -> None:
    found = picked(answer, {"x": path})
    assert found is None or (len(found["x"]) <= 256 and found["x"].isprintable())


@given(JSON)
def test_what_is_at_a_path_is_what_is_there(answer: object) -> None:
    found = picked({"a": [answer]}, {"x": "a.0"})
    plain = isinstance(answer, str | int | float) and json.dumps(answer) not in (
        "NaN",
        "Infinity",
        "-Infinity",
    )
    assert (found is not None) == plain

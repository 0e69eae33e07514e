"""A call that records prompts by phone: who may, what is asked, and what becomes of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core.configuration import Destination, Prompts
from services.core.menus import KEYS, Menu, Sound
from services.ivr import books
from services.ivr import call as it
from services.ivr.call import Book, Boxed, Over, State, Studio
from services.ivr.menu import Machine
from services.ivr.phrases import phrase
from services.ivr.talk import TRIES

NOON = 1_798_023_600.0
WELCOME = Sound(text="Welcome.", name="welcome")
PIN = "2580"


def book(**more: Any) -> Book:
    rules = Prompts(extension="991", users=("2001",), numbers={"1": "welcome", "2": "gone"})
    menus = {"main": Menu(name="main", prompt={"en": WELCOME})}
    named = {"welcome": ("en", WELCOME)}
    return Book(tenant="acme", menus=menus, rules=rules, named=named, **more)


class Caller:
    """Somebody who has dialled the extension; boxes and recordings answer at once."""

    def __init__(self, user: str = "2001", *, has_pin: bool = True, **more: Any) -> None:
        self.commands: list[Any] = []
        self.has_pin = has_pin
        self.said: list[str] = []
        state = State(call="c", tenant="acme", language="en", user=user)
        self.machine = Machine(book(**more), state)
        self.now = NOON
        self.do(self.machine.begin(Destination(kind="prompts", target=user), NOON))

    def do(self, commands: list[Any]) -> None:
        for command in commands:
            self.commands.append(command)
            serial = getattr(command, "serial", 0)
            match command:
                case it.Play():
                    self.said = [line.sound.text or line.sound.digest for line in command.lines]
                case it.OpenBox():
                    self.tell(it.BoxFound(serial=serial, has_pin=self.has_pin))
                case it.Unlock(pin=pin):
                    self.tell(it.Unlocked(serial, "open" if pin == PIN else "wrong"))
                case it.StopRecording():
                    self.tell(it.Recorded(serial, "d" * 64, 4.0))
                case it.SetPrompt():
                    self.tell(it.Changed(serial, "done"))
                case _:
                    pass

    def tell(self, event: Any) -> None:
        self.do(self.machine.take(event, self.now))

    def press(self, keys: str) -> None:
        for key in keys:
            self.tell(it.Digit(key))

    def hears(self, name: str, **values: str) -> bool:
        return phrase(name, "en", **values)[1] in self.said

    def of(self, kind: type) -> list[Any]:
        return [command for command in self.commands if isinstance(command, kind)]


def test_a_prompt_is_recorded_heard_and_accepted() -> None:
    user = Caller()
    user.press(f"{PIN}#1#")
    assert user.hears("prompt_main", number="one")
    user.press("1#")
    user.press("#")
    assert user.hears("prompt_review")
    user.press("3")
    assert user.said == ["d" * 64]
    user.press("#1")
    assert user.of(it.SetPrompt) == [
        it.SetPrompt(user.of(it.SetPrompt)[0].serial, "welcome", "d" * 64)
    ]
    assert user.hears("changed")
    user.press("3")
    assert user.of(it.SetPrompt)[-1].digest == ""


def test_what_callers_hear_now_is_played() -> None:
    user = Caller(recorded={"welcome": Sound(digest="a" * 64)})
    user.press(f"{PIN}#1#2")
    assert user.said == ["a" * 64]


def test_a_prompt_that_is_not_there() -> None:
    user = Caller()
    user.press(f"{PIN}#")
    for _ in range(TRIES):
        user.press("2#")
        assert user.hears("prompt_unknown")
    assert user.hears("goodbye")


@pytest.mark.parametrize("user", ["2002", ""])
def test_who_may_not_is_asked_for_nothing(user: str) -> None:
    other = Caller(user)
    assert other.hears("not_allowed")
    other.press(f"{PIN}#1#1")
    assert not other.of(it.OpenBox)


def test_without_the_pin_nobody_gets_in() -> None:
    user = Caller()
    for _ in range(TRIES):
        user.press("1111#")
        assert user.hears("pin_wrong")
    assert user.hears("goodbye")
    assert Caller(has_pin=False).hears("prompt_no_pin")


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from([*KEYS, "heard", "late", f"{PIN}#1#"]), max_size=40))
def test_any_call_ends_and_changes_what_the_spec_names_alone(events: list[str]) -> None:
    user = Caller()
    for event in events:
        if event == "heard":
            user.tell(it.Played(user.machine.state.serial))
        elif event == "late":
            user.now = max(user.now, user.machine.state.deadline)
            user.tell(it.Time())
        else:
            user.press(event)
        doing = user.machine.state.doing
        assert isinstance(doing, Over) or (
            isinstance(doing, Boxed) and isinstance(doing.box, Studio)
        )
        moved = it.load(it.dump(user.machine.state))
        assert moved == user.machine.state
        Machine(book(), moved).resume(user.now)
    for _ in range(60):
        user.now = max(user.now, user.machine.state.deadline)
        user.tell(it.Time())
    assert isinstance(user.machine.state.doing, Over)
    assert {command.name for command in user.of(it.SetPrompt)} <= {"welcome"}


def test_what_was_recorded_is_heard_in_the_spec_s_place() -> None:
    raw = b'{"digest":"%s","by":"2001"}' % (b"b" * 64)
    found = books.prompts(
        {"acme/welcome": raw, "acme/gone": raw, "other/welcome": raw, "acme/x": b"{"}
    )
    changed = books.recorded({"acme": book(), "empty": Book(tenant="empty")}, found)
    assert changed["acme"].recorded == {"welcome": Sound(digest="b" * 64)}
    assert changed["empty"].recorded == {}
    assert books.sounds(changed) == {("en", WELCOME), ("en", Sound(digest="b" * 64))}
    assert msgspec.structs.replace(changed["acme"], recorded={}) == book()

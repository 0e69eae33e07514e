"""A call at an IVR server, played through without a server: events in, what was asked for out."""

from __future__ import annotations

from typing import TypeVar

from services.core.configuration import Destination
from services.core.menus import Hours, Menu, Prompt, Sound
from services.ivr.call import (
    Book,
    Command,
    Digit,
    Ended,
    Event,
    HangUp,
    Over,
    Play,
    Played,
    State,
    Time,
    dump,
    load,
)
from services.ivr.menu import Machine

NOON = 1_798_023_600.0
"""Wednesday 2026-12-23, 12:00 in Berlin."""
C = TypeVar("C")


def prompt(text: str, **others: str) -> Prompt:
    return {language: Sound(text=said) for language, said in {"en": text, **others}.items()}


def destination(**to: str) -> Destination:
    ((kind, target),) = to.items()
    return Destination(kind=kind, target=target)  # type: ignore[arg-type]


class Conversation:
    """One call to ``menu``. ``heard`` are all texts that were begun, in order."""

    def __init__(self, *menus: Menu, hours: dict[str, Hours] | None = None, now: float = NOON):
        book = Book(tenant="acme", menus={menu.name: menu for menu in menus}, hours=hours or {})
        variables = {"caller": "+4930555", "called": "+4930100"}
        state = State(call="call-1", tenant="acme", language="en", variables=variables)
        self.machine = Machine(book, state)
        self.now = now
        self.commands: list[Command] = []
        self.heard: list[str] = []
        self._note(self.machine.begin(destination(menu=menus[0].name), now))

    @property
    def state(self) -> State:
        return self.machine.state

    @property
    def over(self) -> bool:
        return isinstance(self.state.doing, Over)

    def _note(self, commands: list[Command]) -> None:
        self.commands += commands
        for command in commands:
            if isinstance(command, Play):
                self.heard += [line.sound.text for line in command.lines]

    def tell(self, event: Event) -> None:
        self._note(self.machine.take(event, self.now))

    def press(self, keys: str) -> None:
        for key in keys:
            self.tell(Digit(key))

    def listen(self) -> None:
        """Hear what plays to its end."""
        self.tell(Played(self.state.serial))

    def wait(self) -> None:
        """Let the time come that it waits for."""
        assert self.state.deadline
        self.now = max(self.now, self.state.deadline)
        self.tell(Time())

    def last(self, kind: type[C]) -> C:
        """The last command of a kind."""
        return [command for command in self.commands if isinstance(command, kind)][-1]

    def hang_up(self) -> None:
        self.tell(Ended())

    def move(self) -> None:
        """Go on in another process."""
        machine = Machine(self.machine.book, load(dump(self.state)))
        assert machine.state == self.state
        self.machine = machine
        self._note(machine.resume(self.now))

    @property
    def hung_up(self) -> bool:
        return any(isinstance(command, HangUp) for command in self.commands)

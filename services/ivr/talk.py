"""What the server itself says and asks, in voicemail boxes and where prompts are recorded. Pure.

A `Talking` looks at one event: ``talk`` is where the call is now, ``out`` what is to be done, and
where it is ``over`` the call goes on elsewhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import msgspec

from services.core.menus import Sound
from services.ivr import call as it
from services.ivr import numbers
from services.ivr.call import Command, Event, Line, Lines, State, Talk
from services.ivr.phrases import phrase

PLAYING = 900.0
"""Seconds after which what is said is over, heard or not."""
OPENING = 3.0
"""Seconds for the box to be found: then a message is taken without it."""
CHANGING = 6.0
ANSWER = 8.0
"""Seconds for the first key."""
BETWEEN = 4.0
"""Seconds for the next one of a number or PIN."""
SILENCE = 5
"""Seconds of silence that end a recording."""
TRIES = 3
MOST_PIN = 12
MAX_STEPS = 4000
"""Events of one call: who goes on for ever is not a person."""

T = TypeVar("T", bound=Talk)


class Talking(ABC, Generic[T]):
    """One event of a call."""

    def __init__(self, talk: T, state: State, now: float) -> None:
        self.talk: T = talk
        self.state = state
        self.now = now
        self.out: list[Command] = []
        self.over = False

    @property
    def step(self) -> tuple[T | None, list[Command]]:
        """Where the call is now, and what is to be done."""
        return (None if self.over else self.talk), self.out

    def take(self, event: Event) -> tuple[T | None, list[Command]]:
        """What happens; answers to what was asked for before the last question are late."""
        self.state.steps += 1
        if self.state.steps > MAX_STEPS:
            return None, []
        if isinstance(event, it.Digit):
            self.state.quiet = 0
            self.digit(event.key)
        elif isinstance(event, it.Time):
            self.late()
        elif not isinstance(event, it.Ended) and event.serial == self.talk.serial:
            self.answered(event)
        return self.step

    @abstractmethod
    def digit(self, key: str) -> None:
        """A key was pressed."""

    @abstractmethod
    def late(self) -> None:
        """It is ``state.deadline``."""

    @abstractmethod
    def answered(self, event: Event) -> None:
        """What was asked for last has come."""

    def go(self, at: str, lines: Lines, **changes: object) -> None:
        """Say something; what comes then is `played`'s, or a key's."""
        values = {"at": at, "lines": lines, "heard": False, "keys": ""} | changes
        self.talk = msgspec.structs.replace(self.talk, serial=self._serial(), **values)
        self.out.append(it.Play(self.talk.serial, lines))
        self._wait(PLAYING)

    def ask(self, at: str, *lines: Line, **changes: object) -> None:
        """A question that was not asked before."""
        self.go(at, lines, **({"tries": 0} | changes))

    def once_more(self) -> None:
        """Nothing was pressed: it is asked again, or enough is enough."""
        if self.talk.tries + 1 < TRIES:
            self.go(self.talk.at, self.talk.lines, tries=self.talk.tries + 1)
        else:
            self.bye()

    def bye(self, *lines: Line) -> None:
        """The last words."""
        self.go("bye", (*lines, self.line("goodbye")))

    def heard(self) -> None:
        """What was said is over: keys may come."""
        self.talk = msgspec.structs.replace(self.talk, heard=True)
        self._wait(ANSWER)

    def collect(self, key: str, *, most: int) -> str | None:
        """One more key of a number; the whole of it when it is complete."""
        talk = self.talk
        if not talk.heard:
            self.out.append(it.Stop())
        keys = "" if key == "*" else talk.keys if key == "#" else talk.keys + key
        self.talk = msgspec.structs.replace(talk, heard=True, keys=keys)
        self._wait(BETWEEN)
        return keys if key == "#" or len(keys) >= most else None

    def want(self, at: str, seconds: float, **changes: object) -> int:
        """Wait for an answer from elsewhere; the serial that it has to have."""
        values = {"at": at, "heard": True} | changes
        self.talk = msgspec.structs.replace(self.talk, serial=self._serial(), **values)
        self._wait(seconds)
        return self.talk.serial

    def open(self) -> None:
        """Ask what box it is."""
        self.out.append(it.OpenBox(self.want("opening", OPENING), self.talk.owner))

    def unlock(self, pin: str) -> None:
        """Try a PIN."""
        self.out.append(it.Unlock(self.want("unlocking", CHANGING), self.talk.owner, pin))

    def record(self, at: str, longest: int, *, more: bool = False) -> None:
        """A tone, and then record; ``more``: go on with what another process has begun."""
        serial = self.want(at, longest + 30.0)
        self.out.append(it.Record(serial, longest, SILENCE, more=more))

    def resumed(self) -> bool:
        """In another process: what was asked for is asked for again. False while recording."""
        talk = self.talk
        if "recording" in talk.at:
            return False
        if talk.at == "opening":
            self.open()
        elif talk.at == "unlocking":
            self.unlock(talk.keys)
        elif talk.at == "changing":
            self._wait(CHANGING)
        elif talk.heard:
            self._wait(ANSWER)
        else:
            self.out.append(it.Play(talk.serial, talk.lines, self.state.position))
        return True

    def line(self, name: str, /, **values: str) -> Line:
        """Something that the server says by itself."""
        language, text = phrase(name, self.state.language, **values)
        return Line(language, Sound(text=text))

    def said(self, text: str) -> Line:
        """Any text, in the caller's language."""
        return Line(self.state.language, Sound(text=text))

    def recorded_line(self) -> Line:
        """What was recorded last."""
        return Line(self.state.language, Sound(digest=self.talk.digest))

    def number(self, number: int) -> str:
        """A number in words."""
        return numbers.say("number", str(number), self.state.language)

    def _serial(self) -> int:
        self.state.serial += 1
        self.state.position = 0.0
        return self.state.serial

    def _wait(self, seconds: float) -> None:
        self.state.deadline = self.now + seconds

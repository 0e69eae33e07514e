"""What a call asks for: each command, the state that waits for its answer, and until when."""

from __future__ import annotations

from typing import Literal

import msgspec

from services.core.configuration import Destination
from services.core.menus import VARIABLE, Fetch, Menu, Prompt, Record, Sound
from services.ivr import call as it
from services.ivr import questions
from services.ivr.call import Asking, Book, Command, Line, Lines, State
from services.ivr.phrases import phrase

MAX_VALUE = 256
"""Characters of a variable."""
MAX_VARIABLES = 100
PLAYING = 900.0
"""Seconds after which a prompt is over, heard or not."""
PATIENCE = 2.0
"""Seconds beyond what was asked for, until an answer is not waited for any more."""
LOOKUP = 3.0
RINGING = 180.0
"""Seconds that the Call Manager lets a call ring at most, ring groups and forwards included."""


class Commanding:
    """One call: its state, its tenant's book, and the commands of the event that is looked at."""

    def __init__(self, book: Book, state: State) -> None:
        self.book = book
        self.state = state
        self.out: list[Command] = []
        self.now = 0.0

    @property
    def menu(self) -> Menu | None:
        """The menu that the call is in; None where it has gone from the configuration since."""
        return self.book.menus.get(self.state.menu)

    def ask(self, asking: Asking) -> None:
        """Put a question. It is not heard where keys are there already."""
        playing = bool(asking.lines) and not self.state.ahead
        serial = self.serial()
        self.state.doing = msgspec.structs.replace(asking, serial=serial, keys="", playing=playing)
        if playing:
            self.out.append(it.Play(serial, asking.lines))
        self.wait(PLAYING if playing else questions.seconds(asking, self.menu)[0])

    def play(
        self,
        lines: Lines,
        *,
        then: Literal["on", "again", "over"] = "on",
        again: Asking | None = None,
    ) -> None:
        """Play to the end, and then do what ``then`` says; nothing to play is nothing to do."""
        if not lines:
            if then == "over":
                self.over("end")
            return
        serial = self.serial()
        self.state.doing = it.Playing(serial=serial, lines=lines, then=then, again=again)
        self.out.append(it.Play(serial, lines))
        self.wait(PLAYING)

    def record(self, step: Record) -> None:
        """Play the prompt, then record."""
        lines = self.lines(step.prompt)
        doing = it.Recording(serial=self.serial(), step=step, lines=lines)
        self.state.doing = doing
        if lines:
            self.out.append(it.Play(doing.serial, lines))
            self.wait(PLAYING)
        else:
            self.start_recording(doing)

    def start_recording(self, doing: it.Recording, *, more: bool = False) -> None:
        """Record, the prompt being over; ``more``: go on with it in another process."""
        doing = msgspec.structs.replace(doing, serial=self.serial(), started=True)
        self.state.doing = doing
        step = doing.step
        self.out.append(it.Record(doing.serial, step.most, step.silence, step.voicemail, more))
        self.wait(doing.step.most + 10 * PATIENCE)

    def fetch(self, step: Fetch) -> None:
        """Ask a web service."""
        state = self.state
        body = {name: self.filled(value) for name, value in step.send.items()}
        body |= {"call": state.call, "tenant": state.tenant, "menu": state.menu}
        body |= {name: state.variables.get(name, "") for name in ("caller", "called")}
        doing = it.Fetching(serial=self.serial(), step=step)
        state.doing = doing
        self.out.append(it.Ask(doing.serial, step.url, body, step.deadline, step.authorization))
        self.wait(step.deadline + PATIENCE)

    def find(self, asking: Asking, keys: str) -> None:
        """Look up a name; ``asking`` is the question to put again."""
        asking = msgspec.structs.replace(asking, keys=keys)
        doing = it.Finding(serial=self.serial(), asked=asking)
        self.state.doing = doing
        self.out.append(it.Find(doing.serial, keys))
        self.wait(LOOKUP)

    def connect(self, to: Destination, *, dialled: bool = False, own: bool = False) -> None:
        """Ring somebody of the tenant's, or a number."""
        doing = it.Connecting(serial=self.serial(), to=to, dialled=dialled, own=own)
        self.state.doing = doing
        self.out.append(it.Connect(doing.serial, to, self.menu.ring if self.menu else 25, own))
        self.wait(RINGING + PATIENCE)

    def over(self, why: str, *, hang_up: bool = True) -> None:
        """The call ends here."""
        self.state.doing = it.Over(why=why)
        self.state.deadline = 0.0
        self.state.rest = ()
        if hang_up:
            self.out.append(it.HangUp())

    def serial(self) -> int:
        """A number for the next command; answers to those before it are late."""
        self.state.serial += 1
        self.state.position = 0.0
        return self.state.serial

    def wait(self, seconds: float) -> None:
        """Until when something has to happen."""
        self.state.deadline = self.now + seconds

    def set(self, name: str, value: str) -> None:
        """Keep a value in a variable."""
        variables = self.state.variables
        if name in variables or len(variables) < MAX_VARIABLES:
            self.state.variables = {**variables, name: value[:MAX_VALUE]}

    def filled(self, template: str) -> str:
        """A template with its variables, each put in once; what is not known is empty."""
        values = {**self.state.variables, "language": self.state.language}
        return VARIABLE.sub(lambda match: values.get(match[1], ""), template)[: 2 * MAX_VALUE]

    def lines(self, prompt: Prompt) -> Lines:
        """A prompt in the caller's language, or in one that it has."""
        for each in (self.state.language, self.book.language, *prompt):
            if each in prompt:
                return (Line(each, self.book.now(prompt[each])),)
        return ()

    def phrase(self, name: str, /, **values: str) -> Line:
        """Something that the server says by itself."""
        language, text = phrase(name, self.state.language, **values)
        return Line(language, Sound(text=text))

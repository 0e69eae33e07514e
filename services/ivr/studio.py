"""Where users record their tenant's prompts by phone: a machine inside that of the menus. Pure.

Who may is said by ``Book.rules``, and each proves it with the PIN of his voicemail box: a phone
that is left on a desk is not its owner. A prompt is chosen by its number, recorded, heard, and from
then on heard by everybody, or it is again what the spec has. It is `services.ivr.voicemail`'s twin.
"""

from __future__ import annotations

import msgspec

from services.ivr import call as it
from services.ivr import numbers
from services.ivr.call import Book, Command, Event, Line, State, Studio
from services.ivr.talk import CHANGING, MOST_PIN, TRIES, Talking

Step = tuple[Studio | None, list[Command]]

LONGEST = 300
"""Seconds of a prompt."""
MOST_DIGITS = 4
"""Of a prompt's number, as the spec takes them."""


def begin(state: State, book: Book, now: float) -> Step:
    """A call comes from a phone of the tenant's."""
    visit = _Visit(Studio(owner=state.user), state, book, now)
    if state.user and state.user in book.rules.users:
        visit.open()
    else:
        visit.bye(visit.line("not_allowed"))
    return visit.step


def take(studio: Studio, event: Event, state: State, book: Book, now: float) -> Step:
    """What happens. It sets ``state.deadline`` and takes serials from ``state``."""
    return _Visit(studio, state, book, now).take(event)


def resume(studio: Studio, state: State, book: Book, now: float) -> tuple[Studio, list[Command]]:
    """Go on in another process: what was asked for is asked for again, recording goes on."""
    visit = _Visit(studio, state, book, now)
    if not visit.resumed():
        visit.record("recording", LONGEST, more=True)
    return visit.talk, visit.out


class _Visit(Talking[Studio]):
    """One event of a call."""

    def __init__(self, talk: Studio, state: State, book: Book, now: float) -> None:
        super().__init__(talk, state, now)
        self.book = book

    @property
    def name(self) -> str:
        """The prompt that was chosen; empty where it has gone from the spec since."""
        return self._named(self.talk.number)

    def _named(self, number: str) -> str:
        name = self.book.rules.numbers.get(number, "")
        return name if name in self.book.named else ""

    # What happens.

    def answered(self, event: Event) -> None:
        """Something that was asked for has an answer."""
        talk = self.talk
        match event:
            case it.Played() if not talk.heard:
                self.played()
            case it.BoxFound() if talk.at == "opening":
                self.found(event)
            case it.Unlocked() if talk.at == "unlocking":
                self.unlocked(event.result)
            case it.Recorded() if talk.at == "recording":
                self.recorded(event.digest)
            case it.Changed() if talk.at == "changing":
                self.main(self.line("changed" if event.result == "done" else "prompt_away"))
            case _:
                pass

    def late(self) -> None:
        """Nothing came in time."""
        talk = self.talk
        if not talk.heard:
            self.played()
        elif talk.at in ("opening", "unlocking"):
            self.bye(self.line("prompt_away"))
        elif talk.at in ("pin", "number") and talk.keys:
            self.typed(talk.keys)
        elif talk.at == "changing":
            self.main(self.line("prompt_away"))
        elif talk.at == "recording":
            self.bye()
        else:
            self.once_more()

    def played(self) -> None:
        """What it says has been heard."""
        at = self.talk.at
        if at == "bye":
            self.over = True
        elif at == "speak":
            self.record("recording", LONGEST)
        elif at == "hearing":
            self.main()
        elif at == "hearing it":
            self.review()
        else:
            self.heard()

    def found(self, box: it.BoxFound) -> None:
        """The user's own box, whose PIN counts."""
        if not box.known or not box.there:
            self.bye(self.line("prompt_away"))
        elif not box.has_pin:
            self.bye(self.line("prompt_no_pin"))
        else:
            self.ask("pin", self.line("pin"))

    def unlocked(self, result: str) -> None:
        """What came of the PIN."""
        if result == "open":
            self.choose()
        elif result == "wrong" and self.talk.tries + 1 < TRIES:
            lines = (self.line("pin_wrong"), self.line("pin"))
            self.go("pin", lines, tries=self.talk.tries + 1)
        else:
            words = {"away": "prompt_away", "locked": "pin_locked"}
            self.bye(self.line(words.get(result, "pin_wrong")))

    def digit(self, key: str) -> None:
        """A key, at whatever is said or asked."""
        at = self.talk.at
        if len(key) != 1 or key not in "0123456789*#":
            return
        if at == "recording":
            if key == "#":
                self.out.append(it.StopRecording(self.talk.serial))
        elif at in ("pin", "number"):
            typed = self.collect(key, most=MOST_PIN if at == "pin" else MOST_DIGITS)
            if typed is not None:
                self.typed(typed)
        elif at not in ("opening", "unlocking", "changing", "bye"):
            self.pressed(key)

    def typed(self, keys: str) -> None:
        """A whole PIN, or a prompt's number."""
        if self.talk.at == "pin":
            self.unlock(keys)
        elif self._named(keys):
            self.talk = msgspec.structs.replace(self.talk, number=keys)
            self.main()
        elif self.talk.tries + 1 < TRIES:
            lines = (self.line("prompt_unknown"), self.line("prompt_number"))
            self.go("number", lines, tries=self.talk.tries + 1)
        else:
            self.bye(self.line("prompt_unknown"))

    def pressed(self, key: str) -> None:
        """A key that chooses."""
        choices = {
            "main": {
                "1": self.speak,
                "2": self.hear,
                "3": self.reset,
                "*": self.choose,
                "#": self.bye,
            },
            "speak": {"#": self.played, "*": self.main},
            "hearing": {"#": self.main, "*": self.main},
            "review": {"1": self.accept, "2": self.speak, "3": self.hear_it, "*": self.main},
            "hearing it": {"#": self.review, "*": self.review},
        }
        chosen = choices.get(self.talk.at, {}).get(key)
        if chosen is None:
            return
        if not self.talk.heard:
            self.out.append(it.Stop())
        chosen()

    # What can be done.

    def choose(self) -> None:
        """Which prompt."""
        self.ask("number", self.line("prompt_number"))

    def main(self, *before: Line) -> None:
        """What can be done with it."""
        said = numbers.say("digits", self.talk.number, self.state.language)
        self.ask("main", *before, self.line("prompt_main", number=said))

    def hear(self) -> None:
        """What callers hear now."""
        if self.name:
            language, sound = self.book.named[self.name]
            self.ask("hearing", Line(language, self.book.now(sound)))
        else:
            self.choose()

    def speak(self) -> None:
        """Record it."""
        self.ask("speak", self.line("prompt_speak"))

    def recorded(self, digest: str) -> None:
        """It has been said."""
        self.talk = msgspec.structs.replace(self.talk, digest=digest)
        if digest:
            self.review()
        elif self.talk.tries + 1 < TRIES:
            self.go("speak", (self.line("nothing_said"),), tries=self.talk.tries + 1)
        else:
            self.main()

    def review(self) -> None:
        """What is to be done with what was said."""
        self.ask("review", self.line("prompt_review"))

    def hear_it(self) -> None:
        """What was said."""
        self.ask("hearing it", self.recorded_line())

    def accept(self) -> None:
        """From now on callers hear it."""
        self._set(self.talk.digest)

    def reset(self) -> None:
        """From now on callers hear what the spec has."""
        self._set("")

    def _set(self, digest: str) -> None:
        if self.name:
            self.out.append(it.SetPrompt(self.want("changing", CHANGING), self.name, digest))
        else:
            self.choose()

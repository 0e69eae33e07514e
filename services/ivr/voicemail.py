"""A voicemail box as a part of a call: a machine inside that of the menus. Pure.

`begin` is asked when a call comes to a box. `take` is given everything that happens until it gives
None: then the call goes on after the box. `left` says what is to be kept when the caller hangs up,
which is how most messages end.

Who calls from the owner's own phone, or presses the star during the greeting and knows the PIN,
listens; all others leave a message.
"""

from __future__ import annotations

import msgspec

from services.core.configuration import Destination
from services.core.menus import Sound, Transfer
from services.ivr import call as it
from services.ivr import numbers
from services.ivr.call import Box, Command, Event, Head, Line, State
from services.ivr.talk import CHANGING, MOST_PIN, TRIES, Talking

Step = tuple[Box | None, list[Command]]

LEAST_PIN = 4


def begin(owner: str, state: State, now: float) -> Step:
    """A call comes to the box of an extension of the call's tenant."""
    visit = _Visit(Box(owner=owner, own=state.user == owner), state, now)
    visit.open()
    return visit.step


def take(box: Box, event: Event, state: State, now: float) -> Step:
    """What happens in the box. It sets ``state.deadline`` and takes serials from ``state``."""
    return _Visit(box, state, now).take(event)


def left(box: Box) -> list[Command]:
    """The caller has hung up: what he said stays."""
    if box.at in ("review", "hearing"):
        return [it.Keep(box.owner, box.digest)]
    return [it.Keep(box.owner, "")] if box.at == "recording" else []


def resume(box: Box, state: State, now: float) -> tuple[Box, list[Command]]:
    """Go on in another process: what was asked for is asked for again, recording goes on."""
    visit = _Visit(box, state, now)
    visit.again()
    return visit.talk, visit.out


class _Visit(Talking[Box]):
    """One event of a call in a box."""

    def again(self) -> None:
        """What was asked for is asked for again."""
        if not self.resumed():
            self.record(self.talk.at, self.talk.longest, more=True)

    # What happens.

    def answered(self, event: Event) -> None:
        """Something that was asked for has an answer."""
        box = self.talk
        match event:
            case it.Played() if not box.heard:
                self.played()
            case it.BoxFound() if box.at == "opening":
                self.found(event)
            case it.Recorded() if box.at == "recording":
                self.recorded("review", event)
            case it.Recorded() if box.at == "greet recording":
                self.recorded("greet review", event)
            case it.Unlocked() if box.at == "unlocking":
                self.unlocked(event)
            case it.Changed() if box.at == "changing":
                self.changed(event.result)
            case _:
                pass

    def late(self) -> None:
        """Nothing came in time."""
        box = self.talk
        if not box.heard:
            self.played()
        elif box.at == "opening":
            self.found(it.BoxFound(serial=box.serial, known=False))
        elif box.at in ("pin", "new pin", "new pin again") and box.keys:
            self.typed(box.keys)
        elif box.at == "unlocking":
            self.bye(self.line("box_away"))
        elif box.at == "changing":
            self.changed("away")
        elif box.at in ("recording", "greet recording"):
            self.bye()
        elif box.at == "review":
            self.keep()
        else:
            self.once_more()

    def played(self) -> None:
        """What it says has been heard."""
        box = self.talk
        if box.at == "bye":
            self.over = True
        elif box.at == "greeting":
            self.record("recording", self.talk.longest)
        elif box.at == "greet":
            self.record("greet recording", self.talk.longest)
        elif box.at == "hearing":
            self.review("review")
        elif box.at == "greet hearing":
            self.review("greet review")
        else:
            if box.at == "message" and self.message.new:
                self.mark("saved")
            self.heard()

    def found(self, box: it.BoxFound) -> None:
        """The box, or that it cannot be looked at: then it takes messages all the same."""
        owner = self.talk.owner
        self.talk = msgspec.structs.replace(self.talk, longest=box.longest, has_pin=box.has_pin)
        if not box.there:
            self.go("bye", (self.line("busy"),))
        elif self.talk.own and not box.known:
            self.bye(self.line("box_away"))
        elif self.talk.own and box.has_pin:
            self.ask("pin", self.line("pin"))
        elif self.talk.own:
            self.unlock("")
        elif box.full:
            self.bye(self.line("box_full"))
        elif box.has_greeting:
            self.ask("greeting", Line(self.state.language, Sound(), f"{owner}/"))
        else:
            said = numbers.say("digits", owner, self.state.language)
            self.ask("greeting", self.line("box_greeting", extension=said))

    def digit(self, key: str) -> None:
        """A key, at whatever is said or asked."""
        box = self.talk
        if len(key) != 1 or key not in "0123456789*#" or box.at == "bye":
            return
        if box.at in ("recording", "greet recording"):
            if key == "#":
                self.out.append(it.StopRecording(box.serial))
        elif box.at in ("pin", "new pin", "new pin again"):
            pin = self.collect(key, most=MOST_PIN)
            if pin is not None:
                self.typed(pin)
        elif box.at not in ("opening", "unlocking", "changing"):
            self.pressed(key)

    def pressed(self, key: str) -> None:
        """A key that chooses."""
        choices = {
            "greeting": {"#": self.skip, "*": self.listen},
            "greet": {"#": self.skip, "*": self.main},
            "review": {"1": self.keep, "2": self.anew, "3": self.hear, "*": self.bye},
            "hearing": {"#": self.skip},
            "main": {"1": self.first, "2": self.greetings, "3": self.new_pin, "#": self.bye},
            "greetings": {
                "1": self.new_greeting,
                "2": self.no_greeting,
                "*": self.main,
            },
            "greet review": {
                "1": self.use_greeting,
                "2": self.anew,
                "3": self.hear,
                "*": self.main,
            },
            "greet hearing": {"#": self.skip},
            "message": {
                "4": self.previous,
                "5": self.show,
                "6": self.next,
                "7": self.delete,
                "8": self.call_back,
                "9": self.save,
                "*": self.main,
            },
        }
        chosen = choices.get(self.talk.at, {}).get(key)
        if chosen is None:
            return
        if not self.talk.heard:
            self.out.append(it.Stop())
        chosen()

    def skip(self) -> None:
        """Enough was heard."""
        self.played()

    # Leaving a message, and recording a greeting.

    def recorded(self, at: str, event: it.Recorded) -> None:
        """It has been said."""
        self.talk = msgspec.structs.replace(self.talk, digest=event.digest)
        if event.digest:
            self.review(at)
        elif self.talk.tries + 1 < TRIES:
            before = "greeting" if at == "review" else "greet"
            self.go(before, (self.line("nothing_said"),), tries=self.talk.tries + 1)
        else:
            self.bye()

    def review(self, at: str) -> None:
        """What is to be done with it."""
        self.ask(at, self.line("review" if at == "review" else "greeting_review"))

    def keep(self) -> None:
        """Into the box with it."""
        self.out.append(it.Keep(self.talk.owner, self.talk.digest))
        self.bye(self.line("message_kept"))

    def anew(self) -> None:
        """Say it again."""
        at = "recording" if self.talk.at == "review" else "greet recording"
        self.record(at, self.talk.longest)

    def hear(self) -> None:
        """What was said."""
        at = "hearing" if self.talk.at == "review" else "greet hearing"
        self.ask(at, self.recorded_line())

    # Into the box, and out of it.

    def listen(self) -> None:
        """Somebody says that it is his box."""
        self.ask("pin", self.line("pin"))

    def typed(self, pin: str) -> None:
        """A whole PIN."""
        box = self.talk
        if box.at == "pin":
            self.unlock(pin)
        elif box.at == "new pin":
            if len(pin) < LEAST_PIN:
                self.new_pin(self.line("pin_short"))
            else:
                self.ask("new pin again", self.line("pin_again"), pin=pin)
        elif pin != box.pin:
            self.new_pin(self.line("pin_other"))
        else:
            serial = self.want("changing", CHANGING, pin="")
            self.out.append(it.SetPin(serial, box.owner, pin))

    def unlocked(self, event: it.Unlocked) -> None:
        """What came of the PIN."""
        box = self.talk
        if event.result == "open" or (event.result == "no pin" and box.own):
            self.talk = msgspec.structs.replace(box, messages=event.messages, index=0)
            self.main()
        elif event.result == "away":
            self.bye(self.line("box_away"))
        elif event.result == "locked":
            self.bye(self.line("pin_locked"))
        elif box.tries + 1 < TRIES:
            lines = (self.line("pin_wrong"), self.line("pin"))
            self.go("pin", lines, tries=box.tries + 1)
        else:
            self.bye(self.line("pin_wrong"))

    def main(self, *before: Line) -> None:
        """What there is, and what can be done."""
        messages = self.talk.messages
        new = sum(one.new for one in messages)
        counts = self.line("box_counts", new=self.number(new), all=self.number(len(messages)))
        self.ask("main", *before, counts, self.line("box_main"))

    def new_pin(self, *before: Line) -> None:
        """Ask for another PIN."""
        self.ask("new pin", *before, self.line("pin_new"))

    def greetings(self) -> None:
        """What can be done with the greeting."""
        self.ask("greetings", self.line("greetings"))

    def new_greeting(self) -> None:
        """Record it."""
        self.ask("greet", self.line("greeting_record"))

    def use_greeting(self) -> None:
        """From now on this one is heard."""
        serial = self.want("changing", CHANGING)
        self.out.append(it.SetGreeting(serial, self.talk.owner, self.talk.digest))

    def no_greeting(self) -> None:
        """From now on the usual one is heard."""
        serial = self.want("changing", CHANGING)
        self.out.append(it.SetGreeting(serial, self.talk.owner, ""))

    def changed(self, result: str) -> None:
        """A PIN or a greeting."""
        words = {"done": "changed", "refused": "pin_easy"}.get(result, "box_away")
        self.main(self.line(words))

    # Messages.

    @property
    def message(self) -> Head:
        """The one that is heard."""
        return self.talk.messages[self.talk.index]

    def first(self) -> None:
        """From the start."""
        self.talk = msgspec.structs.replace(self.talk, index=0)
        self.show()

    def show(self, *before: Line) -> None:
        """Envelope and message, and what can be done with it."""
        box, language = self.talk, self.state.language
        if not 0 <= box.index < len(box.messages):
            self.main(*before, self.line("no_more"))
            return
        one = self.message
        who = one.name or numbers.say("digits", one.caller, language)
        envelope = (
            self.line("message_new" if one.new else "message_old"),
            self.line("from", caller=who) if who else self.line("from_unknown"),
            self.said(numbers.say("date", one.at, language)),
            self.said(numbers.say("time", one.at.partition("T")[2], language)),
        )
        sound = Line(language, Sound(), f"{box.owner}/{one.id}")
        self.ask("message", *before, *envelope, sound, self.line("message_keys"))

    def next(self) -> None:
        """The one after it."""
        self.talk = msgspec.structs.replace(self.talk, index=self.talk.index + 1)
        self.show()

    def previous(self) -> None:
        """The one before it."""
        self.talk = msgspec.structs.replace(self.talk, index=max(0, self.talk.index - 1))
        self.show()

    def save(self) -> None:
        """Keep it, and on to the next."""
        self.mark("saved")
        self.next()

    def delete(self) -> None:
        """Away with it, and on to the next."""
        box = self.talk
        self.out.append(it.Mark(box.owner, self.message.id, "deleted"))
        rest = (*box.messages[: box.index], *box.messages[box.index + 1 :])
        self.talk = msgspec.structs.replace(box, messages=rest)
        self.show(self.line("deleted"))

    def mark(self, state: str) -> None:
        """It was heard."""
        box, one = self.talk, self.message
        self.out.append(it.Mark(box.owner, one.id, "saved"))
        known = list(box.messages)
        known[box.index] = msgspec.structs.replace(one, new=state != "saved")
        self.talk = msgspec.structs.replace(box, messages=tuple(known))

    def call_back(self) -> None:
        """Who has left it. A number outside only from the owner's own phone, with his rights."""
        caller = self.message.caller
        if caller.isascii() and caller.isdigit() and 2 <= len(caller) <= 15:
            to = Destination(kind="extension", target=caller)
        elif self.talk.own and caller.startswith("+") and caller.isascii() and caller[1:].isdigit():
            to = Destination(kind="number", target=caller)
        else:
            self.show(self.line("no_call"))
            return
        self.state.rest = (Transfer(to=to, own=to.kind == "number"), *self.state.rest)
        self.over = True

"""What a call does at an IVR server. Pure: events and the time in, commands out.

A call always comes to an end: whatever it waits for has a deadline, steps that nobody has asked for
are counted, and what the caller or a web service says is only ever compared, kept or sent.
"""

from __future__ import annotations

import msgspec

from services.core.configuration import Destination
from services.core.menus import (
    KEYS,
    AnyStep,
    Assign,
    Branch,
    Collect,
    DialExtension,
    DialName,
    Enter,
    Fetch,
    HangUp,
    Play,
    Record,
    Say,
    Sound,
    Speak,
    Steps,
    Transfer,
    Voicemail,
    When,
)
from services.ivr import call as it
from services.ivr import hours, numbers, questions, studio, voicemail
from services.ivr.answers import picked
from services.ivr.call import (
    Asking,
    Boxed,
    Command,
    Connected,
    Connecting,
    Event,
    Fetching,
    Finding,
    Line,
    Lines,
    Over,
    Playing,
    Recording,
    Tail,
)
from services.ivr.commanding import MAX_VALUE, Commanding
from services.ivr.names import MOST as CHOICES

MAX_QUIET = 200
"""Steps without a word of the caller's; a configuration that needs more goes round."""
MAX_STEPS = 5000
MAX_KEYS = 32


class Machine(Commanding):
    """One call's machine. ``state`` changes with every event; ``book`` may be a newer one."""

    def begin(self, to: Destination, now: float) -> list[Command]:
        """A call has come for a menu, a voicemail box, or to record prompts."""
        self.now = now
        if to.kind == "menu":
            self._go(to.target)
        elif to.kind == "voicemail":
            self.state.tail = "end"
            self._box(to.target)
        elif to.kind == "prompts":
            self.state.tail = "end"
            self._inside(studio.begin(self.state, self.book, now))
        else:
            self.over("unknown")
        return self._done()

    def take(self, event: Event, now: float) -> list[Command]:
        """Something has happened. What does not fit what the call is doing changes nothing."""
        self.now = now
        doing = self.state.doing
        if isinstance(event, it.Ended):
            if isinstance(doing, Boxed) and isinstance(doing.box, it.Box):
                self.out += voicemail.left(doing.box)
            elif isinstance(doing, Recording) and doing.started:
                self.out.append(it.Keep(doing.step.voicemail, ""))
            if not isinstance(doing, Over):
                self.over(event.why, hang_up=False)
        elif isinstance(event, it.Time):
            if self.state.deadline and now >= self.state.deadline:
                self._late()
        elif isinstance(doing, Boxed):
            self._in_box(doing, event)
        elif isinstance(event, it.Digit):
            if event.key in KEYS and len(event.key) == 1:
                self._digit(event.key)
        elif not isinstance(doing, Connected | Over | None) and event.serial == doing.serial:
            self._answered(event)
        return self._done()

    def resume(self, now: float) -> list[Command]:
        """Go on in another process: what was asked for is asked for again, from where it was."""
        self.now = now
        state, doing = self.state, self.state.doing
        match doing:
            case Asking(playing=True) | Playing() | Recording(started=False):
                self.out.append(it.Play(doing.serial, doing.lines, state.position))
            case Asking():
                # Nobody heard what was pressed in between, so a little time is given for it.
                state.deadline = max(state.deadline, now + 1)
            case Recording():
                self.start_recording(doing, more=True)
            case Fetching():
                self.fetch(doing.step)
            case Finding():
                self.find(doing.asked, doing.asked.keys)
            case Connecting():
                self.connect(doing.to, dialled=doing.dialled, own=doing.own)
            case Boxed():
                if isinstance(doing.box, it.Studio):
                    box, self.out = studio.resume(doing.box, state, self.book, now)
                else:
                    box, self.out = voicemail.resume(doing.box, state, now)
                state.doing = msgspec.structs.replace(doing, box=box)
            case _:
                pass
        return self._done()

    def _done(self) -> list[Command]:
        out, self.out = self.out, []
        return out

    # Steps.

    def _go(self, name: str) -> None:
        """Into a menu."""
        menu = self.book.menus.get(name)
        if menu is None:
            # It went away while the call was here.
            self.over("unknown")
            return
        self.state.menu = name
        self.state.way = (*self.state.way[-19:], name)
        self._steps(menu.before, "prompt")

    def _steps(self, steps: Steps, tail: Tail) -> None:
        self.state.rest, self.state.tail = steps, tail
        self._next()

    def _next(self) -> None:
        """The next step, or what comes where there is none."""
        state = self.state
        while state.doing is None:
            state.quiet += 1
            state.steps += 1
            if state.quiet > MAX_QUIET or state.steps > MAX_STEPS:
                self.over("circle")
            elif state.rest:
                step, state.rest = state.rest[0], state.rest[1:]
                self._do(step)
            elif state.tail == "end":
                self.over("end")
            else:
                self._menu()

    def _do(self, step: AnyStep) -> None:
        state = self.state
        match step:
            case Play():
                self.play(self.lines(step.prompt))
            case Say():
                value = self.filled(step.value)
                text = numbers.say(step.kind, value, state.language, step.currency)
                self.play((Line(state.language, Sound(text=text)),) if text else ())
            case HangUp():
                self.play(self.lines(step.prompt), then="over")
            case Enter():
                self._go(step.menu)
            case Transfer() if step.to.kind == "voicemail":
                self._box(step.to.target)
            case Transfer():
                self.connect(step.to, own=step.own)
            case Voicemail():
                self._box(step.box)
            case DialExtension():
                self._question(Asking(what="extension", step=step, lines=self.lines(step.prompt)))
            case DialName():
                self._question(Asking(what="name", step=step, lines=self.lines(step.prompt)))
            case Collect():
                self._question(Asking(what="collect", step=step, lines=self.lines(step.prompt)))
            case Record():
                self.record(step)
            case Fetch():
                self.fetch(step)
            case Assign():
                for name, value in step.variables.items():
                    self.set(name, self.filled(value))
            case Branch():
                chosen = step.cases.get(self.filled(step.by), step.otherwise)
                state.rest = (*chosen, *state.rest)
            case When():
                state.rest = (*self._by_time(step), *state.rest)
            case Speak():
                state.language = step.language

    def _by_time(self, step: When) -> Steps:
        found = self.book.hours.get(step.hours)
        now = "open" if found is None else hours.state(found, self.now)
        if now == "open":
            return step.open
        return step.holiday or step.closed if now == "holiday" else step.closed

    # Questions.

    def _menu(self) -> None:
        """The menu's own question, or its prompt alone where it asks for nothing."""
        menu = self.menu
        if menu is None:
            self.over("unknown")
        elif menu.asks:
            self._question(Asking(what="menu", lines=self.lines(menu.prompt)))
        else:
            self.state.rest, self.state.tail = menu.otherwise, "end"
            self.play(self.lines(menu.prompt))

    def _question(self, asking: Asking) -> None:
        """Put a question; keys that are there already may answer it, and the next one too."""
        self.ask(asking)
        state, serial = self.state, self.state.serial
        while state.ahead and isinstance(state.doing, Asking) and state.doing.serial == serial:
            key, state.ahead = state.ahead[0], state.ahead[1:]
            self._digit(key)

    def _digit(self, key: str) -> None:
        state, doing = self.state, self.state.doing
        state.quiet = 0
        if isinstance(doing, Playing | Fetching | Finding):
            state.ahead = (state.ahead + key)[:MAX_KEYS]
        elif isinstance(doing, Recording):
            if doing.started and key == doing.step.end:
                self.out.append(it.StopRecording(doing.serial))
        elif isinstance(doing, Asking):
            if doing.playing:
                self.out.append(it.Stop())
            doing = msgspec.structs.replace(doing, playing=False, keys=doing.keys + key)
            state.doing = doing
            self.wait(questions.seconds(doing, self.menu)[1])
            self._judge(doing, complete=False)

    def _judge(self, asking: Asking, *, complete: bool) -> None:
        menu = self.menu
        if menu is None:
            self.over("unknown")
            return
        verdict = questions.judge(asking, menu, complete=complete)
        if isinstance(verdict, questions.Wait):
            return
        if isinstance(verdict, questions.Wrong):
            self._again(asking, self.lines(questions.when_wrong(asking, menu)))
            return
        self.set("digits", verdict.keys)
        self.state.doing = None
        match verdict:
            case questions.Chosen():
                self._steps(verdict.steps, "menu")
            case questions.Digits():
                self.set(verdict.into, verdict.keys)
                self._next()
            case questions.Lookup():
                self.find(asking, verdict.keys)
            case questions.Dial():
                if asking.what == "menu":
                    self.state.rest, self.state.tail = (), "menu"
                self.connect(_extension(verdict.extension), dialled=True)

    def _again(self, asking: Asking, said: Lines) -> None:
        """Ask once more, or go where it goes when that was often enough."""
        menu = self.menu
        self.state.doing = None
        if menu is None or asking.tries >= questions.retries(asking, menu):
            otherwise = asking.step.otherwise if isinstance(asking.step, Collect) else ()
            if otherwise:
                self._steps(otherwise, self.state.tail)
            else:
                self._otherwise(said)
            return
        again = msgspec.structs.replace(asking, tries=asking.tries + 1)
        if said:
            self.play(said, then="again", again=again)
        else:
            self._question(again)

    def _otherwise(self, said: Lines = ()) -> None:
        """Where a call goes when nothing else is said: the menu's way out, and then its end."""
        menu = self.menu
        if self.state.tail == "end" or menu is None or not menu.otherwise:
            self.play((*said, self.phrase("goodbye")), then="over")
            return
        self.state.rest, self.state.tail = menu.otherwise, "end"
        self.play(said)
        self._next()

    # Answers.

    def _answered(self, event: Event) -> None:
        doing = self.state.doing
        match event, doing:
            case it.Played(), Playing():
                self._played(doing)
            case it.Played(), Asking(playing=True):
                self.state.doing = msgspec.structs.replace(doing, playing=False)
                self.wait(questions.seconds(doing, self.menu)[0])
            case it.Played(), Recording(started=False):
                self.start_recording(doing)
            case it.Recorded(), Recording(started=True):
                self.set("recording", event.digest)
                self._go_on()
            case it.Answered(), Fetching():
                self._web_answered(doing.step, event.answer)
            case it.Names(), Finding():
                self._found(doing.asked, event)
            case it.Joined(), Connecting():
                self.state.doing = Connected(to=doing.to)
                self.state.deadline = 0.0
            case it.Refused(), Connecting():
                self._unanswered(event.code, dialled=doing.dialled)
            case _:
                pass

    def _go_on(self) -> None:
        self.state.doing = None
        self._next()

    def _played(self, doing: Playing) -> None:
        self.state.doing = None
        if doing.then == "over":
            self.over("end")
        elif doing.then == "again" and doing.again is not None:
            self._question(doing.again)
        else:
            self._next()

    def _web_answered(self, step: Fetch, answer: object) -> None:
        self.state.doing = None
        found = picked(answer, step.take)
        if found is None and step.otherwise:
            self._steps(step.otherwise, self.state.tail)
        elif found is None:
            self._otherwise()
        else:
            for name, value in found.items():
                self.set(name, value)
            self._next()

    def _found(self, asked: Asking, names: it.Names) -> None:
        self.state.doing = None
        people = names.found[:CHOICES]
        if not people or names.more:
            self._again(asked, (self.phrase("many" if names.more else "nobody"),))
        elif len(people) == 1:
            self.connect(_extension(people[0][0]), dialled=True)
        else:
            lines = tuple(
                self.phrase("choice", name=name[:MAX_VALUE], key=str(key))
                for key, (_, name) in enumerate(people, 1)
            )
            found = tuple(extension for extension, _ in people)
            self._question(Asking(what="choice", step=asked.step, lines=lines, found=found))

    def _unanswered(self, code: int, *, dialled: bool) -> None:
        """Nobody is there: the next step, or what comes where there is none."""
        state = self.state
        state.doing = None
        said = (self.phrase("unknown" if dialled and code == 404 else "busy"),)
        if state.rest or state.tail == "prompt":
            self._next()
        elif dialled and state.tail == "menu":
            # Who has named an extension may name another one.
            self.play(said)
        else:
            self._otherwise(said)

    def _late(self) -> None:
        """What was waited for does not come."""
        doing = self.state.doing
        self.state.deadline = 0.0
        match doing:
            case Asking(playing=True):
                self._answered(it.Played(doing.serial))
            case Asking() if doing.keys:
                self._judge(doing, complete=True)
            case Asking():
                said = self.menu.quiet if self.menu is not None and doing.step is None else {}
                self._again(doing, self.lines(said))
            case Playing():
                self._played(doing)
            case Recording(started=False):
                self.start_recording(doing)
            case Recording():
                self._go_on()
            case Fetching():
                self._web_answered(doing.step, None)
            case Finding():
                self._found(doing.asked, it.Names(doing.serial))
            case Connecting():
                self._unanswered(480, dialled=doing.dialled)
            case Boxed():
                self._in_box(doing, it.Time())
            case _:
                pass

    # Voicemail.

    def _box(self, owner: str) -> None:
        self._inside(voicemail.begin(owner, self.state, self.now))

    def _in_box(self, doing: Boxed, event: Event) -> None:
        if isinstance(doing.box, it.Studio):
            self._inside(studio.take(doing.box, event, self.state, self.book, self.now))
        else:
            self._inside(voicemail.take(doing.box, event, self.state, self.now))

    def _inside(self, step: tuple[it.Box | it.Studio | None, list[Command]]) -> None:
        box, commands = step
        self.out += commands
        if box is None:
            self._go_on()
        else:
            self.state.doing = Boxed(serial=self.state.serial, box=box)


def _extension(digits: str) -> Destination:
    return Destination(kind="extension", target=digits)

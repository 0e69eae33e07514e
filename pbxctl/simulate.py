"""A call at a menu without a PBX: the IVR servers' own machine, with time that only simulates.

Used as: ``walk = Walk(…)``; look at ``walk.waits``, `Walk.give` it what happens, until it is over.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from pbxctl.spec import Tenant
from services.core.configuration import Destination
from services.core.menus import KEYS
from services.ivr import call as it
from services.ivr.call import Book, Command, Event, State
from services.ivr.menu import Machine
from services.ivr.names import search

Waits = Literal["keys", "connect", "web", "record", "talk", "over"]
EXPECTED: dict[Waits, str] = {
    "keys": 'keys such as 1 or 2001#, "-" for silence, or hang-up',
    "connect": "answer, busy, or a SIP status such as 404",
    "web": 'the answer in JSON, or "-" for none',
    "record": 'a number of seconds, or "-" for nothing said',
    "talk": "hang-up",
}
SPOKEN_A_SECOND = 14.0
"""Characters of text that are spoken in a second, about."""


class WalkError(Exception):
    """What was given is nothing that can happen now; the message says what can."""


class Turn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened, ``at`` seconds from the beginning."""

    at: float
    what: str
    text: str = ""
    language: str = ""


def book_of(tenant: Tenant) -> Book:
    """What an IVR server knows of a tenant."""
    return Book(
        tenant=tenant.name, language=tenant.language, menus=tenant.menus, hours=tenant.hours
    )


class Walk:
    """One call to ``menu`` of a tenant, at the Unix time ``now``. ``turns`` grow as it goes on."""

    def __init__(
        self, tenant: Tenant, menu: str, now: float, *, caller: str = "", called: str = ""
    ) -> None:
        self.turns: list[Turn] = []
        self._people = tuple((u.extension, u.name) for u in tenant.users if u.enabled)
        state = State(
            call="simulated",
            tenant=tenant.name,
            language=tenant.language,
            variables={"caller": caller, "called": called},
        )
        self._machine = Machine(book_of(tenant), state)
        self._begun = self._now = now
        self._playing: it.Play | None = None
        self._follow(self._machine.begin(Destination(kind="menu", target=menu), now))

    @property
    def waits(self) -> Waits:
        """What it needs to be given."""
        match self._machine.state.doing:
            case it.Connecting():
                return "connect"
            case it.Connected():
                return "talk"
            case it.Fetching():
                return "web"
            case (
                it.Recording(started=True)
                | it.Boxed(box=it.Box(at="recording" | "greet recording"))
            ):
                return "record"
            case it.Over() | None:
                return "over"
            case _:
                return "keys"

    @property
    def why(self) -> str:
        """Why it is over."""
        doing = self._machine.state.doing
        return doing.why if isinstance(doing, it.Over) else ""

    def give(self, text: str) -> None:
        """What happens next. Raises WalkError for what cannot happen now."""
        text = text.strip()
        waits, serial = self.waits, self._machine.state.serial
        if waits == "over":
            raise WalkError("the call is over")
        if text == "hang-up":
            self._note("pressed", "hang-up")
            self._tell(it.Ended())
        elif waits == "keys":
            self._keys(text)
        elif waits == "connect":
            self._connection(text, serial)
        elif waits == "web":
            self._note("answer", text)
            self._tell(it.Answered(serial, _json(text)))
        elif waits == "record":
            self._recorded(text, serial)
        else:
            raise WalkError(f"expected {EXPECTED[waits]}")

    def _keys(self, text: str) -> None:
        if text == "-":
            self._hear()
            doing = self._machine.state.doing
            asked = isinstance(doing, it.Asking) and not doing.playing
            if asked or (isinstance(doing, it.Boxed) and doing.box.heard and self.waits == "keys"):
                self._wait()
            return
        if not text or any(key not in KEYS for key in text):
            raise WalkError(f"expected {EXPECTED['keys']}")
        self._note("pressed", text)
        for key in text:
            self._tell(it.Digit(key), settle=False)
        self._settle()
        # Nothing more is pressed: what is no answer yet is one, or wrong, when the time is over.
        doing = self._machine.state.doing
        if isinstance(doing, it.Asking) and doing.keys:
            self._wait()

    def _connection(self, text: str, serial: int) -> None:
        codes = {"busy": 486, "no-answer": 480}
        if text == "answer":
            self._note("connected", "")
            self._tell(it.Joined(serial))
        elif text in codes or (text.isdigit() and 300 <= int(text) < 700):
            self._note("refused", text)
            self._tell(it.Refused(serial, codes.get(text) or int(text)))
        else:
            raise WalkError(f"expected {EXPECTED['connect']}")

    def _recorded(self, text: str, serial: int) -> None:
        if text == "-":
            self._tell(it.Recorded(serial, ""))
        elif text.isdigit():
            self._now += int(text)
            self._note("recorded", f"{text} s")
            self._tell(it.Recorded(serial, "recorded", float(text)))
        else:
            raise WalkError(f"expected {EXPECTED['record']}")

    def _wait(self) -> None:
        self._now = max(self._now, self._machine.state.deadline)
        self._tell(it.Time())

    def _hear(self) -> None:
        """The prompt that plays comes to its end."""
        if self._playing is None:
            return
        playing, self._playing = self._playing, None
        letters = sum(len(line.sound.text) or 40 for line in playing.lines)
        self._now += letters / SPOKEN_A_SECOND
        self._tell(it.Played(playing.serial))

    def _tell(self, event: Event, *, settle: bool = True) -> None:
        self._follow(self._machine.take(event, self._now), settle=settle)

    def _follow(self, commands: Iterable[Command], *, settle: bool = True) -> None:
        for command in commands:
            match command:
                case it.Play():
                    self._playing = command
                    for line in command.lines:
                        said = line.sound.text or f"(file {line.sound.digest[:12]})"
                        self._note("heard", said, line.language)
                case it.Stop():
                    self._playing = None
                case it.Ask():
                    body = msgspec.json.encode(command.body).decode()
                    self._note("request", f"POST {command.url} {body}")
                case it.Find():
                    found, more = search(command.keys, self._people)
                    self._tell(it.Names(command.serial, found, more), settle=False)
                case it.Connect():
                    kind = command.to.kind.replace("_", " ")
                    self._note("connect", f"{kind} {command.to.target}")
                case it.Record():
                    self._note("record", f"at most {command.most} s")
                case it.StopRecording():
                    self._note("recorded", "1 s")
                    self._tell(it.Recorded(command.serial, "recorded", 1.0), settle=False)
                case it.HangUp():
                    self._note("hang-up")
                case _:
                    self._box(command)
        if settle:
            self._settle()

    def _box(self, command: it.OfBoxes) -> None:
        """Every voicemail box is new here: empty, with neither PIN nor greeting of its own."""
        match command:
            case it.OpenBox():
                self._tell(it.BoxFound(serial=command.serial), settle=False)
            case it.Unlock():
                self._tell(it.Unlocked(command.serial, "open"), settle=False)
            case it.Keep():
                where = f"in the box of {command.owner}" if command.owner else "as a recording"
                self._note("kept", where)
            case it.Mark():
                self._note("kept", f"as {command.state}")
            case it.SetPin() | it.SetGreeting() | it.SetPrompt():
                self._tell(it.Changed(command.serial, "done"), settle=False)

    def _settle(self) -> None:
        """What needs nobody goes on: prompts that are heard to their end."""
        while isinstance(self._machine.state.doing, it.Playing | it.Recording) and self._playing:
            self._hear()

    def _note(self, what: str, text: str = "", language: str = "") -> None:
        at = round(self._now - self._begun, 1)
        self.turns.append(Turn(at=at, what=what, text=text, language=language))


def _json(text: str) -> Any:
    if text in ("", "-"):
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise WalkError(f"no JSON: {error}") from None

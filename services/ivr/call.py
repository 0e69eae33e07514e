"""What a call at an IVR server is made of: its state, what happens to it, what it wants done.

The state is one small value (`dump`, `load`): another process goes on with it at the step and at
the place in the prompt where it was.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from services.core import menus
from services.core.configuration import Destination, Prompts
from services.core.menus import AnyStep, Hours, Menu, Sound, Steps


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """All that one tenant has set up; a call sees no other tenant's.

    ``rules`` say who records which prompts by phone; ``named`` are those, with their language, as
    the spec has them, ``recorded`` what was recorded of them.
    """

    tenant: str
    language: str = "en"
    menus: dict[str, Menu] = {}
    hours: dict[str, Hours] = {}
    rules: Prompts = Prompts()
    named: dict[str, tuple[str, Sound]] = {}
    recorded: dict[str, Sound] = {}

    def now(self, sound: Sound) -> Sound:
        """What is heard where the spec has ``sound``."""
        return self.recorded.get(sound.name, sound) if sound.name else sound


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One thing to be heard: text to be spoken or a file, and the language.

    ``kept`` instead of both is what a voicemail box holds: ``2001/m1`` is a message in the box of
    2001, ``2001/`` its greeting.
    """

    language: str
    sound: Sound
    kept: str = ""


Lines = tuple[Line, ...]


# What it is doing. ``serial`` tells the answer to what it asked for last from a late one.


class Asking(msgspec.Struct, frozen=True, kw_only=True, tag="asking"):
    """Waits for keys, with or without a prompt that still plays.

    ``step`` is None in the menu itself. ``found`` are extensions to choose from, by key.
    """

    serial: int = 0
    what: Literal["menu", "collect", "extension", "name", "choice"]
    step: AnyStep | None = None
    lines: Lines = ()
    playing: bool = False
    keys: str = ""
    tries: int = 0
    found: tuple[str, ...] = ()


class Playing(msgspec.Struct, frozen=True, kw_only=True, tag="playing"):
    """Plays to the end, and then goes on, asks again, or hangs up."""

    serial: int
    lines: Lines
    then: Literal["on", "again", "over"] = "on"
    again: Asking | None = None


class Fetching(msgspec.Struct, frozen=True, kw_only=True, tag="fetching"):
    serial: int
    step: menus.Fetch


class Finding(msgspec.Struct, frozen=True, kw_only=True, tag="finding"):
    """Looks up a name. ``asked`` is the question, to be put again."""

    serial: int
    asked: Asking


class Connecting(msgspec.Struct, frozen=True, kw_only=True, tag="connecting"):
    """Rings somebody.

    ``dialled``: the caller has named the extension. ``own``: with the caller's rights to call out.
    """

    serial: int
    to: Destination
    dialled: bool = False
    own: bool = False


class Recording(msgspec.Struct, frozen=True, kw_only=True, tag="recording"):
    """``started`` is false while its prompt plays."""

    serial: int
    step: menus.Record
    lines: Lines
    started: bool = False


class Head(msgspec.Struct, frozen=True, array_like=True):
    """A message in a box, without its sound. ``at`` is local time, as ``2026-12-24T17:30``."""

    id: str
    caller: str
    name: str
    at: str
    new: bool


class Talk(msgspec.Struct, frozen=True, kw_only=True):
    """Where a call is in what the server itself says and asks; ``owner`` is the extension whose
    voicemail box, or whose PIN, it is about.

    ``at`` is what is being done. ``heard``: what it says has been heard, and it waits for keys;
    ``lines`` is what it says. ``digest`` is of what was recorded last.
    """

    owner: str
    at: str = "opening"
    serial: int = 0
    heard: bool = False
    lines: Lines = ()
    keys: str = ""
    tries: int = 0
    digest: str = ""


class Box(Talk, frozen=True, kw_only=True, tag="box"):
    """In a voicemail box, see `services.ivr.voicemail`.

    ``own``: it is the owner's own phone. ``pin`` is a new one that is still to be said again.
    """

    own: bool = False
    has_pin: bool = False
    longest: int = 180
    messages: tuple[Head, ...] = ()
    index: int = 0
    pin: str = ""


class Studio(Talk, frozen=True, kw_only=True, tag="studio"):
    """Where prompts are recorded, see `services.ivr.studio`; ``number`` is the prompt's."""

    number: str = ""


class Boxed(msgspec.Struct, frozen=True, kw_only=True, tag="boxed"):
    """In a voicemail box or where prompts are recorded: a machine inside this one."""

    serial: int
    box: Box | Studio


class Connected(msgspec.Struct, frozen=True, kw_only=True, tag="connected"):
    """Talks to somebody; its sound does not come by here any more."""

    to: Destination


class Over(msgspec.Struct, frozen=True, kw_only=True, tag="over"):
    """``why`` it ended, for the call record."""

    why: str


Doing = (
    Asking | Playing | Fetching | Finding | Connecting | Recording | Boxed | Connected | Over | None
)
Tail = Literal["prompt", "menu", "end"]


class State(msgspec.Struct, kw_only=True):
    """A call. ``deadline`` is the Unix time at which it must hear `Time`, if nothing else comes.

    ``rest`` is what is still to be done; where it ends, ``tail`` says what then: the prompt of
    ``menu``, that menu once more, or nothing. ``ahead`` are keys that nobody has asked for yet,
    ``position`` the seconds that were heard of what is playing. ``quiet`` counts steps since the
    caller last did something, ``steps`` all. ``user`` is the extension of the phone that calls, as
    the Call Manager knows it by its password; empty for whoever calls from outside.
    """

    call: str
    tenant: str
    language: str
    user: str = ""
    menu: str = ""
    variables: dict[str, str] = {}
    doing: Doing = None
    rest: Steps = ()
    tail: Tail = "prompt"
    deadline: float = 0.0
    ahead: str = ""
    position: float = 0.0
    serial: int = 0
    quiet: int = 0
    steps: int = 0
    way: tuple[str, ...] = ()


def dump(state: State) -> bytes:
    """The state as bytes, for another process."""
    return msgspec.msgpack.encode(state)


def load(data: bytes) -> State:
    """The state in bytes; raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(data, type=State)


# What happens to it.


class Digit(msgspec.Struct, frozen=True):
    """A key was pressed: one of ``0123456789*#``; others are not heeded."""

    key: str


class Played(msgspec.Struct, frozen=True):
    """What `Play` wanted was heard to its end."""

    serial: int


class Time(msgspec.Struct, frozen=True):
    """It is ``State.deadline``."""


class Answered(msgspec.Struct, frozen=True):
    """A web service's answer, as JSON that was read; None where there was no good one."""

    serial: int
    answer: object = None


class Names(msgspec.Struct, frozen=True):
    """Who was found, as pairs of extension and name, best first; ``more`` than these."""

    serial: int
    found: tuple[tuple[str, str], ...] = ()
    more: bool = False


class Joined(msgspec.Struct, frozen=True):
    """Who was rung has answered, and the two are connected."""

    serial: int


class Refused(msgspec.Struct, frozen=True):
    """Nobody answered; ``code`` is SIP's."""

    serial: int
    code: int


class Recorded(msgspec.Struct, frozen=True):
    """``digest`` is the SHA-256 of the sound, empty if nothing was said."""

    serial: int
    digest: str
    seconds: float = 0.0


class BoxFound(msgspec.Struct, frozen=True, kw_only=True):
    """A voicemail box. ``known`` is false where nobody could be asked."""

    serial: int
    known: bool = True
    there: bool = True
    full: bool = False
    longest: int = 180
    has_pin: bool = False
    has_greeting: bool = False


class Unlocked(msgspec.Struct, frozen=True):
    """Whether the PIN was right, and if so, what is in the box."""

    serial: int
    result: Literal["open", "wrong", "locked", "no pin", "away"]
    messages: tuple[Head, ...] = ()


class Changed(msgspec.Struct, frozen=True):
    """What became of a change of PIN or greeting."""

    serial: int
    result: Literal["done", "refused", "away"]


class Ended(msgspec.Struct, frozen=True):
    """The caller has hung up, or the call was ended from outside."""

    why: str = "caller"


Event = (
    Digit
    | Played
    | Time
    | Answered
    | Names
    | Joined
    | Refused
    | Recorded
    | BoxFound
    | Unlocked
    | Changed
    | Ended
)


# What it wants done.


class Play(msgspec.Struct, frozen=True):
    """Play from ``start`` seconds on; tells `Played`. What played before stops."""

    serial: int
    lines: Lines
    start: float = 0.0


class Stop(msgspec.Struct, frozen=True):
    """Stop playing."""


class Ask(msgspec.Struct, frozen=True):
    """POST ``body`` to ``url``; tells `Answered` within ``deadline`` seconds.

    ``authorization`` as in `Fetch`.
    """

    serial: int
    url: str
    body: dict[str, str]
    deadline: int
    authorization: str = ""


class Find(msgspec.Struct, frozen=True):
    """Look up whose name begins with these keys; tells `Names`."""

    serial: int
    keys: str


class Connect(msgspec.Struct, frozen=True):
    """Ring ``to`` for ``ring`` seconds; tells `Joined` or `Refused`.

    ``own``: the caller has chosen it, so a number outside is called with his rights, not with the
    tenant's.
    """

    serial: int
    to: Destination
    ring: int
    own: bool = False


class Record(msgspec.Struct, frozen=True):
    """A tone, then record; ends as said, or by `StopRecording`; tells `Recorded`.

    It stays at this server until `Keep` says what is to become of it. Where ``owner`` is not None
    it is kept at once, as `Keep` would. ``more``: another process has begun it; without a tone it
    goes on.
    """

    serial: int
    most: int
    silence: int
    owner: str | None = None
    more: bool = False


class StopRecording(msgspec.Struct, frozen=True):
    """End the recording and keep it."""

    serial: int


class OpenBox(msgspec.Struct, frozen=True):
    """Look at a voicemail box; tells `BoxFound`."""

    serial: int
    owner: str


class Unlock(msgspec.Struct, frozen=True):
    """Try a PIN, an empty one for a box without; tells `Unlocked`."""

    serial: int
    owner: str
    pin: str


class Keep(msgspec.Struct, frozen=True):
    """Keep a recording; without a digest the one that is being made, which ends now.

    It goes into the box of ``owner``, or without one to the recordings of the tenant.
    """

    owner: str
    digest: str


class Mark(msgspec.Struct, frozen=True):
    """A message was heard, or is to be deleted."""

    owner: str
    message: str
    state: Literal["saved", "deleted"]


class SetPin(msgspec.Struct, frozen=True):
    """Give a box a PIN; tells `Changed`."""

    serial: int
    owner: str
    pin: str


class SetGreeting(msgspec.Struct, frozen=True):
    """Make a recording a box's greeting, or with an empty digest have none; tells `Changed`."""

    serial: int
    owner: str
    digest: str


class SetPrompt(msgspec.Struct, frozen=True):
    """Have a recording heard in place of a prompt, or with an empty digest what the spec has; tells
    `Changed`."""

    serial: int
    name: str
    digest: str


class HangUp(msgspec.Struct, frozen=True):
    """End the call."""


OfBoxes = OpenBox | Unlock | Keep | Mark | SetPin | SetGreeting | SetPrompt
Command = Play | Stop | Ask | Find | Connect | Record | StopRecording | OfBoxes | HangUp

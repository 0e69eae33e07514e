"""Menus and hours as documents: what the compiler writes and what the IVR servers read.

=============================  ==============================================
``config/menus/<tenant>/<name>``  `Menu`
``config/hours/<tenant>/<name>``  `Hours`
=============================  ==============================================

What a call does at an IVR server is a list of steps, done one after the other. A step either goes
on to the next one, or takes the call elsewhere. What callers and HTTP answers give is kept in
variables, and ``{name}`` in a template stands for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from services.core.configuration import Destination, Document

BUILT_IN = ("caller", "called", "digits", "language", "recording")
"""Variables that every call has: who calls and what was called (both as numbers or extensions),
what was pressed last, the language spoken, the digest of what was recorded last."""
KEYS = "0123456789*#"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
VARIABLE = re.compile(r"\{([a-z][a-z0-9_]{0,30})\}")
SaidAs = Literal["number", "digits", "date", "time", "money"]


class Sound(Document, frozen=True, kw_only=True):
    """Exactly one of ``text``, which is spoken, and ``digest``, the SHA-256 of a kept file.

    What was recorded by phone under its ``name`` is heard instead.
    """

    text: str = ""
    digest: str = ""
    name: str = ""


Prompt = dict[str, Sound]
"""Language (BCP 47) → what is heard; empty is silence."""


class Step(Document, frozen=True, kw_only=True):
    """Base of what a call does."""


class Play(Step, frozen=True, kw_only=True, tag="play"):
    """Play a prompt to its end. Keys pressed meanwhile are kept for what asks for some next."""

    prompt: Prompt


class Say(Step, frozen=True, kw_only=True, tag="say"):
    """Say a value in the caller's language.

    ``value`` is a template; ``currency`` (ISO 4217) is for money.
    """

    kind: SaidAs
    value: str
    currency: str = ""


class Enter(Step, frozen=True, kw_only=True, tag="menu"):
    """Go on in another menu of the tenant."""

    menu: str


class Transfer(Step, frozen=True, kw_only=True, tag="transfer"):
    """Connect the caller with a destination.

    Where nobody answers, the next step is done. ``own``: it is the caller's own choice, with his
    rights to call out; no spec says so.
    """

    to: Destination
    own: bool = False


class DialExtension(Step, frozen=True, kw_only=True, tag="dial_extension"):
    """Ask for an extension and connect the caller with it."""

    prompt: Prompt
    retries: int = 2


class DialName(Step, frozen=True, kw_only=True, tag="dial_name"):
    """Ask for a name on the keys, say who was found, connect the caller with the one chosen."""

    prompt: Prompt
    retries: int = 2


class Collect(Step, frozen=True, kw_only=True, tag="collect"):
    """Ask for ``least`` to ``most`` digits and keep them in the variable ``into``.

    ``end`` is the key that ends them early. ``otherwise`` where none come, after ``retries``.
    """

    prompt: Prompt
    into: str
    least: int = 1
    most: int = 20
    end: str = "#"
    after: int = 6
    between: int = 3
    retries: int = 2
    wrong: Prompt = {}
    otherwise: tuple[AnyStep, ...] = ()


class Record(Step, frozen=True, kw_only=True, tag="record"):
    """Record the caller after the prompt and a beep.

    Ends with the key ``end``, after ``most`` seconds or ``silence`` seconds of silence, or because
    the caller hangs up. It is kept in the store, among the tenant's recordings, or in the box of
    the user whose extension ``voicemail`` is. The variable ``recording`` has the digest of the
    sound, empty where nothing was said.
    """

    prompt: Prompt
    most: int = 120
    silence: int = 4
    end: str = "#"
    voicemail: str = ""


class Fetch(Step, frozen=True, kw_only=True, tag="request"):
    """POST ``send`` (values are templates) as a JSON object to ``url``.

    ``take`` is variable → path in the answer's JSON (``account.balance``). ``deadline`` in seconds.
    ``otherwise`` where the answer does not come, is no success or lacks what is taken.
    ``authorization`` is what `web_secret` names the value of that header by, "" for none.
    """

    url: str
    authorization: str = ""
    send: dict[str, str] = {}
    take: dict[str, str] = {}
    deadline: int = 3
    otherwise: tuple[AnyStep, ...] = ()


class Assign(Step, frozen=True, kw_only=True, tag="set"):
    """Set variables; values are templates."""

    variables: dict[str, str]


class Branch(Step, frozen=True, kw_only=True, tag="branch"):
    """Go on with the steps under what the template ``by`` gives, or with ``otherwise``."""

    by: str
    cases: dict[str, tuple[AnyStep, ...]]
    otherwise: tuple[AnyStep, ...] = ()


class When(Step, frozen=True, kw_only=True, tag="when"):
    """Go on by the time; without ``holiday`` steps, holidays are closed."""

    hours: str
    open: tuple[AnyStep, ...] = ()
    closed: tuple[AnyStep, ...] = ()
    holiday: tuple[AnyStep, ...] = ()


class Speak(Step, frozen=True, kw_only=True, tag="language"):
    """Speak another language from here on."""

    language: str


class Voicemail(Step, frozen=True, kw_only=True, tag="voicemail"):
    """Leave a message in a box: it is the extension of a user of the tenant."""

    box: str


class HangUp(Step, frozen=True, kw_only=True, tag="hang_up"):
    """End the call after the prompt."""

    prompt: Prompt = {}


AnyStep = (
    Play
    | Say
    | Enter
    | Transfer
    | DialExtension
    | DialName
    | Collect
    | Record
    | Fetch
    | Assign
    | Branch
    | When
    | Speak
    | Voicemail
    | HangUp
)
Steps = tuple[AnyStep, ...]


class Menu(Document, frozen=True, kw_only=True):
    """One menu of a tenant.

    ``before`` is done when a call comes in. Then ``prompt`` is played, and keys may be pressed from
    its first word on. ``after`` and ``between`` are the seconds to the first key and to the next
    one. Silence and wrong keys (``wrong`` is said) ask again, ``retries`` times; then comes
    ``otherwise``, also after steps that led nowhere, and where that leads nowhere the call ends.

    ``extensions``: an extension may be dialled at once. ``direct`` is the extension by which users
    reach this menu, or empty. ``ring`` is how many seconds a transfer rings.
    """

    name: str
    prompt: Prompt = {}
    before: Steps = ()
    keys: dict[str, Steps] = {}
    extensions: bool = False
    after: int = 6
    between: int = 3
    retries: int = 2
    quiet: Prompt = {}
    wrong: Prompt = {}
    otherwise: Steps = ()
    direct: str = ""
    ring: int = 25

    @property
    def asks(self) -> bool:
        """Whether it waits for keys at all."""
        return bool(self.keys) or self.extensions


class Hours(Document, frozen=True, kw_only=True):
    """When a tenant is open.

    ``open`` maps each of `DAYS` to pairs of minutes after midnight, the end not included; an end of
    up to 2,880 is on the next day. ``holidays`` are dates, ``2026-12-25``, all
    in ``timezone``.
    """

    timezone: str
    open: dict[str, tuple[tuple[int, int], ...]]
    holidays: tuple[str, ...] = ()


def recording_id(digest: str) -> str:
    """The id of what a menu has recorded in the index of recordings, by the sound's digest."""
    return f"menu-{digest}"


def variables_in(template: str) -> tuple[str, ...]:
    """The names of the variables in a template."""
    return tuple(VARIABLE.findall(template))


def below(step: AnyStep) -> dict[str, Steps]:
    """The lists of steps inside a step, each by what leads to it."""
    match step:
        case Collect() | Fetch():
            return {"otherwise": step.otherwise}
        case Branch():
            cases = {f"is.{value}": steps for value, steps in step.cases.items()}
            return {**cases, "otherwise": step.otherwise}
        case When():
            return {"open": step.open, "closed": step.closed, "holiday": step.holiday}
        case _:
            return {}


def prompts_in(menu: Menu) -> Iterator[Prompt]:
    """Everything that a menu may play."""
    yield from (menu.prompt, menu.quiet, menu.wrong)
    for steps in (menu.before, menu.otherwise, *menu.keys.values()):
        yield from _prompts(steps)


def _prompts(steps: Steps) -> Iterator[Prompt]:
    for step in steps:
        for name in ("prompt", "wrong"):
            if (prompt := getattr(step, name, None)) is not None:
                yield prompt
        for inside in below(step).values():
            yield from _prompts(inside)


def decode_menu(data: bytes) -> Menu:
    """The menu in a document; raises msgspec.ValidationError."""
    return msgspec.json.decode(data, type=Menu)


def web_secret(tenant: str, authorization: str) -> str:
    """The secret of a tenant's that `Fetch.authorization` means: never another tenant's."""
    return f"web.{tenant}.{authorization}"

"""Whether pressed keys answer a question. Pure: the question, the menu and the keys in."""

from __future__ import annotations

import msgspec

from services.core.menus import Collect, DialExtension, DialName, Menu, Prompt, Steps
from services.ivr.call import Asking

FEWEST, MOST = 2, 15
"""Digits of an extension."""
MOST_LETTERS = 30
SECONDS = (6.0, 3.0)


class Wait(msgspec.Struct, frozen=True):
    """More keys may come."""


class Wrong(msgspec.Struct, frozen=True):
    """No answer can come of these keys."""


class Chosen(msgspec.Struct, frozen=True):
    """A key of the menu."""

    keys: str
    steps: Steps


class Digits(msgspec.Struct, frozen=True):
    """Digits that are kept in a variable."""

    keys: str
    into: str


class Dial(msgspec.Struct, frozen=True):
    """An extension, dialled or chosen by name."""

    keys: str
    extension: str


class Lookup(msgspec.Struct, frozen=True):
    """A name to be looked up."""

    keys: str


Verdict = Wait | Wrong | Chosen | Digits | Dial | Lookup


def judge(asking: Asking, menu: Menu, *, complete: bool) -> Verdict:
    """What the keys so far mean; ``complete``: no more will come."""
    keys = asking.keys
    if asking.what == "menu":
        return _menu(keys, menu, complete=complete)
    if isinstance(asking.step, Collect):
        return _collect(keys, asking.step, complete=complete)
    if asking.what == "choice":
        index = int(keys) - 1 if keys.isdigit() else -1
        if 0 <= index < len(asking.found):
            return Dial(keys, asking.found[index])
        return Wrong()
    bare = keys.removesuffix("#")
    name = asking.what == "name"
    if bare and not bare.isdigit():
        return Wrong()
    if not (complete or keys != bare or len(bare) >= (MOST_LETTERS if name else MOST)):
        return Wait()
    if len(bare) < FEWEST:
        return Wrong()
    return Lookup(bare) if name else Dial(bare, bare)


def _menu(keys: str, menu: Menu, *, complete: bool) -> Verdict:
    longer = any(each.startswith(keys) and each != keys for each in menu.keys)
    dialling = menu.extensions and keys.isdigit() and len(keys) < MOST
    open_ended = not complete and (longer or dialling)
    if keys in menu.keys and not open_ended:
        return Chosen(keys, menu.keys[keys])
    bare = keys.removesuffix("#")
    if menu.extensions and bare.isdigit() and len(bare) >= FEWEST and not open_ended:
        return Dial(bare, bare)
    return Wait() if open_ended else Wrong()


def _collect(keys: str, step: Collect, *, complete: bool) -> Verdict:
    bare = keys.removesuffix(step.end) if step.end else keys
    if bare and not bare.isdigit():
        return Wrong()
    if not (complete or keys != bare or len(bare) >= step.most):
        return Wait()
    return Digits(bare, step.into) if len(bare) >= step.least else Wrong()


def seconds(asking: Asking, menu: Menu | None) -> tuple[float, float]:
    """How long it waits for the first key, once the prompt is over, and for the next one."""
    asked = asking.step if isinstance(asking.step, Collect) else menu
    return (asked.after, asked.between) if asked is not None else SECONDS


def retries(asking: Asking, menu: Menu) -> int:
    """How often it is asked again."""
    if isinstance(asking.step, Collect | DialExtension | DialName):
        return asking.step.retries
    return menu.retries


def when_wrong(asking: Asking, menu: Menu) -> Prompt:
    """What is heard before it is asked again because the keys were wrong."""
    own = asking.step.wrong if isinstance(asking.step, Collect) else {}
    return own or menu.wrong

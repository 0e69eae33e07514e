"""Progress for whoever looks: redrawn on a terminal, a line a change where nobody does."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.text import Text

from pbxctl.commands.output import Output, clean, took
from pbxctl.progress import Progress, RoleHealth, Silent, lines


class Lines:
    """One line a change, to stderr: stdout keeps the result alone."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self.last = ""
        self.shown: dict[str, str] = {}

    def doing(self, what: str) -> None:
        """Prints a step, once."""
        if what != self.last:
            self.out.note(f"  {clean(what)}")
        self.last = what

    def health(self, roles: Sequence[RoleHealth]) -> None:
        """Prints the roles whose line has changed."""
        for role, text in zip(roles, lines(roles, drawn=False), strict=True):
            if self.shown.get(role.role) != text:
                self.out.note(clean(text))
                self.shown[role.role] = text


class Drawn:
    """A block that is drawn anew: one line a role, below it what goes on and for how long."""

    def __init__(self, live: Any) -> None:
        self.live = live
        self.begun = time.monotonic()
        self.what = ""
        self.roles: list[str] = []

    def doing(self, what: str) -> None:
        """Shows a step in place of the one before."""
        self.what = what
        self._draw()

    def health(self, roles: Sequence[RoleHealth]) -> None:
        """Shows the roles' bars."""
        self.roles = lines(roles, drawn=True)
        self._draw()

    def _draw(self) -> None:
        spent = took(time.monotonic() - self.begun)
        texts = [Text(clean(line), no_wrap=True, overflow="ellipsis") for line in self.roles]
        self.live.update(Group(*texts, Text(f"  {clean(self.what)} ({spent})", style="dim")))


@contextmanager
def shown(out: Output) -> Generator[Progress]:
    """A `Progress` that fits where the output goes."""
    if out.json:
        yield Silent()
    elif out.interactive:
        live: Any = Live(console=out.out, refresh_per_second=8, transient=True)
        with live:
            yield Drawn(live)
    else:
        yield Lines(out)

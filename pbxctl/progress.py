"""How far an apply has come: what is healthy of what should be, and what that looks like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

BAR = 20


class RoleHealth(msgspec.Struct, frozen=True, kw_only=True):
    """``waiting`` says of each server that is not healthy what it lacks, for people."""

    role: str
    healthy: int
    wanted: int
    waiting: tuple[str, ...] = ()


class Progress(Protocol):
    """Told what goes on. Must return at once."""

    def doing(self, what: str) -> None:
        """A step begins."""
        ...

    def health(self, roles: Sequence[RoleHealth]) -> None:
        """Who is healthy now; called whenever that was looked at."""
        ...


class Silent:
    """A `Progress` that tells nobody."""

    def doing(self, what: str) -> None:
        """Nothing."""

    def health(self, roles: Sequence[RoleHealth]) -> None:
        """Nothing."""


class Journal:
    """A `Progress` that remembers the steps, for an account of what was done.

    ``done`` are the steps that ended, in order; ``doing_now`` the one that had begun, or empty.
    """

    def __init__(self, to: Progress) -> None:
        self._to = to
        self._steps: list[str] = []

    def doing(self, what: str) -> None:
        """A step begins, and the one before has ended."""
        self._steps.append(what)
        self._to.doing(what)

    def health(self, roles: Sequence[RoleHealth]) -> None:
        """Handed on."""
        self._to.health(roles)

    @property
    def done(self) -> tuple[str, ...]:
        """The steps that ended, in order, each once."""
        return tuple(dict.fromkeys(self._steps[:-1]))

    @property
    def doing_now(self) -> str:
        """The step that had begun; empty before the first."""
        return self._steps[-1] if self._steps else ""


def bar(healthy: int, wanted: int, width: int = BAR) -> str:
    """A bar of ``width`` cells; full only when all are healthy."""
    full = width if healthy >= wanted else min(width - 1, width * healthy // max(wanted, 1))
    return "█" * full + "░" * (width - full)


def line(role: RoleHealth, name_width: int, *, drawn: bool) -> str:
    """One role in one line, with a bar if ``drawn``."""
    what = f"{role.healthy}/{role.wanted} healthy"
    middle = f"{bar(role.healthy, role.wanted)}  {what}" if drawn else what
    waiting = f"   {'; '.join(role.waiting)}" if role.waiting else ""
    return f"  {role.role.ljust(name_width)}  {middle}{waiting}"


def lines(roles: Sequence[RoleHealth], *, drawn: bool) -> list[str]:
    """All roles, names aligned."""
    width = max((len(role.role) for role in roles), default=0)
    return [line(role, width, drawn=drawn) for role in roles]

"""What has failed and who was mailed, asked of a Call Manager."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec
import trio

from pbxctl.admin_client import AdminClient, AdminError
from pbxctl.registry_client import Service

TELL_WITHIN = 2.0
"""Seconds for a Call Manager to answer; it asks the registry."""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """One failure. Times are Unix times; ``ended`` is 0 while it goes on."""

    key: str
    name: str
    since: float
    reason: str = ""
    ended: float = 0.0
    end: str = ""
    failures: int = 1
    flapping: bool = False
    mailed: bool = False


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """``sent`` is 0 while it was not; then ``problem`` says why, if it was tried."""

    id: str
    subject: str
    made: float
    sent: float = 0.0
    attempts: int = 0
    problem: str = ""
    given_up: bool = False

    @property
    def state(self) -> str:
        """What became of it, for people."""
        if self.sent:
            return "sent"
        what = "given up" if self.given_up else "tried again" if self.attempts else "waiting"
        return f"{what}: {self.problem}" if self.problem else what


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    """Those of the last day, oldest first."""

    recipients: list[str] = []
    incidents: list[Incident] = []
    mails: list[Mail] = []

    def notes(self) -> list[str]:
        """What fails now, and what mails wait because they cannot be sent; for people."""
        found = [
            f"{one.name}{' fails again and again' if one.flapping else ' has failed'}: {one.reason}"
            for one in self.incidents
            if not one.ended
        ]
        stuck = [one for one in self.mails if not one.sent and one.problem]
        if stuck:
            found.append(f"{_mails(len(stuck))} could not be sent: {stuck[-1].problem}")
        return found


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """``server`` sent the test mail; ``refused``: why, by recipient that was not taken."""

    server: str
    recipients: list[str]
    refused: dict[str, str] = {}


async def alerts(managers: Sequence[Service], token: str) -> Alerts:
    """What a Call Manager says, for all say the same; nothing where none does in time."""
    for manager in managers:
        if not manager.admin or manager.status == "critical":
            continue
        with trio.move_on_after(TELL_WITHIN), suppress(AdminError):
            async with AdminClient(manager.admin, token, patience=0) as client:
                return await client.get("/v1/alerts", Alerts)
    return Alerts()


def _mails(number: int) -> str:
    return "a mail about a failure" if number == 1 else f"{number} mails about failures"

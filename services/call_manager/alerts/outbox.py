"""Which mail is sent when, and by whom: pure.

A mail lies in the registry until it was sent. Who sends it claims it first, so that no other Call
Manager does meanwhile; a claim whose owner has died is over after `CLAIM`, which is longer than any
sending takes. What was sent and cannot be noted as such, since its sender died between the two, is
sent once more under the same Message-ID.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from services.core.configuration import Document

CLAIM = 45.0
"""Seconds: longer than `post.SEND`."""
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 600.0
GIVE_UP = 2 * 86_400.0
"""Seconds after which a mail that nobody takes is old news."""
KEEP = 86_400.0


class Mail(Document, frozen=True, kw_only=True):
    """``id`` is the Message-ID's; ``answers`` that of the mail that this one follows.

    ``made`` and ``sent`` are Unix times, 0 for not yet. ``had`` are the recipients whose mail
    server has taken it. ``claim`` says who is sending it, ``problem`` why that failed last.
    """

    id: str
    subject: str
    text: str
    made: float
    answers: str = ""
    claim: str = ""
    attempts: int = 0
    problem: str = ""
    had: tuple[str, ...] = ()
    sent: float = 0.0
    given_up: bool = False

    @property
    def open(self) -> bool:
        """Whether it is still to be sent."""
        return not self.sent and not self.given_up


class Entry(msgspec.Struct, frozen=True):
    """A mail and its entry's index in the registry."""

    mail: Mail
    index: int


class Outbox:
    """``me`` names this life of this Call Manager as ``<server>/<boot>``."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._since: dict[str, tuple[int, float]] = {}

    def due(self, mails: Mapping[str, Entry], now: float) -> Entry | None:
        """The oldest mail that is to be claimed and sent at ``now`` (monotonic seconds)."""
        for gone in self._since.keys() - mails.keys():
            del self._since[gone]
        for entry in sorted(mails.values(), key=lambda each: (each.mail.made, each.mail.id)):
            mail = entry.mail
            index, since = self._since.get(mail.id, (0, now))
            if index != entry.index:
                index, since = self._since[mail.id] = (entry.index, now)
            # Ages are counted from when an entry was first seen like that: clocks may differ.
            if mail.open and now >= since + self._wait(mail):
                return entry
        return None

    def _wait(self, mail: Mail) -> float:
        if mail.claim:
            # One of this server's own former lives is surely over.
            same = mail.claim.partition("/")[0] == self._me.partition("/")[0]
            return 0.0 if same else CLAIM
        return pause(mail.attempts)

    def claimed(self, mail: Mail) -> Mail:
        """What to write, where the entry has not changed, before it is sent."""
        return msgspec.structs.replace(mail, claim=self._me)


def pause(attempts: int) -> float:
    """Seconds before the next attempt after ``attempts`` that failed."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempts - 1, 16)) if attempts else 0.0


def after(
    mail: Mail, recipients: Sequence[str], had: Sequence[str], problem: str, wall: float
) -> Mail:
    """The mail after an attempt. ``had``: who has got it now; ``problem``: why others have not."""
    all_had = tuple(dict.fromkeys((*mail.had, *had)))
    done = bool(all_had) and all(each in all_had for each in recipients)
    return msgspec.structs.replace(
        mail,
        claim="",
        had=all_had,
        attempts=mail.attempts + 1,
        problem="" if done else problem,
        sent=wall if done else 0.0,
        given_up=not done and wall >= mail.made + GIVE_UP,
    )


def old(mails: Mapping[str, Entry], wall: float) -> Entry | None:
    """A mail that need not be kept any longer."""
    for entry in mails.values():
        if not entry.mail.open and wall >= max(entry.mail.sent, entry.mail.made) + KEEP:
            return entry
    return None

"""Which session is whose, and what rtpengine, Redis and the other servers are told of it: pure.

A session belongs to the floating address that it was set up on, its *home*, for as long as it
lives. The server that holds the address serves the session and is the only one that writes it; all
the others keep a copy. rtpengine 10.5 sees this as two Redis databases: `OWN`, which it restores as
its own sessions, and `OTHERS`, which it follows and keeps ready as foreign ones. A foreign session
becomes its own with the first packet or command (``--active-switchover``), so moving the address
moves the sessions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

from services.media.mirror.document import (
    advanced,
    encrypted,
    home_of,
    recording_of,
    rendered,
    with_recording,
)

OWN = 1
OTHERS = 2
"""rtpengine wipes database 0."""


class Store(msgspec.Struct, frozen=True):
    """Tell the others: this is the session now."""

    home: str
    call: str


class Remove(msgspec.Struct, frozen=True):
    """Tell the others: the session is over."""

    home: str
    call: str


class Notify(msgspec.Struct, frozen=True):
    """Tell this server's rtpengine that a session in `OTHERS` is new, or gone."""

    event: Literal["set", "del"]
    call: str


Action: TypeAlias = Store | Remove | Notify


class Session(msgspec.Struct, kw_only=True):
    """``document`` is rtpengine's JSON. ``own``: rtpengine has it in database `OWN`."""

    home: str
    document: bytes
    own: bool = False


class Sessions:
    """All sessions of a cluster as one media server knows them. ``held`` are the homes that it
    serves now."""

    def __init__(self, homes: Iterable[str]) -> None:
        self.homes = frozenset(homes)
        self.held: set[str] = set()
        self._sessions: dict[str, Session] = {}

    def get(self, call: str) -> Session | None:
        """One session."""
        return self._sessions.get(call)

    def of(self, home: str) -> dict[str, bytes]:
        """The documents of a home's sessions, by Call-ID."""
        found = self._sessions.items()
        return {call: session.document for call, session in found if session.home == home}

    def counts(self) -> tuple[int, int]:
        """Sessions of homes that are held, and of others."""
        own = sum(session.home in self.held for session in self._sessions.values())
        return own, len(self._sessions) - own

    # What rtpengine does with its databases.

    def keys(self, database: int) -> list[str]:
        """Call-IDs in a database."""
        mine = database == OWN
        return [
            call for call, session in self._sessions.items() if (session.home in self.held) == mine
        ]

    def read(self, call: str, database: int) -> bytes | None:
        """What rtpengine restores a session from; None if there is none."""
        session = self._sessions.get(call)
        if session is None:
            return None
        session.own = database == OWN
        return rendered(session.document, database)

    def written(self, call: str, document: bytes) -> list[Action]:
        """rtpengine has set up or changed a session."""
        home = home_of(document)
        known = self._sessions.get(call)
        if home not in self.homes or home not in self.held:
            # A server that has lost the address and does not know it yet has no say any more.
            return []
        if known is not None and known.home != home and known.home not in self.held:
            return []
        self._sessions[call] = Session(home=home, document=document, own=True)
        gone: list[Action] = []
        if known is not None and known.home != home:
            gone.append(Remove(known.home, call))
        return [*gone, Store(home, call)]

    def deleted(self, call: str, database: int) -> list[Action]:
        """rtpengine has removed a session.

        Before it takes a foreign session's new version it also deletes it, from database `OWN`,
        where it never was: so a session is over only where it says so of the database that it has
        the session in.
        """
        session = self._sessions.get(call)
        if session is None or session.home not in self.held:
            return []
        if session.own != (database == OWN):
            return []
        del self._sessions[call]
        return [Remove(session.home, call)]

    # What the others say.

    def learned(self, home: str, call: str, document: bytes) -> list[Action]:
        """The home's server has set up or changed a session."""
        known = self._sessions.get(call)
        if home not in self.homes:
            return []
        if known is not None and (known.home in self.held or known.document == document):
            return []
        self._sessions[call] = Session(home=home, document=document)
        return [Notify("set", call)]

    def forgotten(self, home: str, call: str) -> list[Action]:
        """The home's server says that a session is over."""
        session = self._sessions.get(call)
        if session is None or session.home != home or home in self.held:
            return []
        del self._sessions[call]
        return [Notify("del", call)]

    def only(self, home: str, calls: Collection[str]) -> list[Action]:
        """The home has these sessions and no others."""
        return [
            action
            for call in [c for c, s in self._sessions.items() if s.home == home]
            if call not in calls
            for action in self.forgotten(home, call)
        ]

    # Recordings.

    def recordings(self) -> dict[str, str]:
        """The metadata of the sessions served here that are to be recorded, by Call-ID."""
        return {
            call: metadata
            for call, session in self._sessions.items()
            if session.home in self.held
            and (metadata := recording_of(session.document)) is not None
        }

    def recorded(self, call: str, *, recorded: bool) -> list[Action]:
        """A recording was started, or stopped, on demand."""
        session = self._sessions.get(call)
        if session is None or session.home not in self.held:
            return []
        document = with_recording(session.document, recorded=recorded)
        if document is session.document:
            return []
        session.document = document
        return [Store(session.home, call)]

    # SRTP.

    def ageing(self) -> list[str]:
        """The sessions served here whose packet indices have to be kept up with."""
        return [
            call
            for call, session in self._sessions.items()
            if session.home in self.held and encrypted(session.document)
        ]

    def advance(self, call: str, received: Mapping[int, tuple[int, int]]) -> list[Action]:
        """rtpengine says how many packets of a session have come (`document.advanced`)."""
        session = self._sessions.get(call)
        if session is None or session.home not in self.held:
            return []
        document = advanced(session.document, received)
        if document is session.document:
            return []
        session.document = document
        return [Store(session.home, call)]

    # Addresses that come and go.

    def gain(self, home: str) -> None:
        """This server serves the home from now on."""
        self.held.add(home)

    def lose(self, home: str) -> None:
        """Another does, or nobody."""
        self.held.discard(home)

    # What rtpengine really has.

    def compare(self, there: Collection[str]) -> list[Action]:
        """``there`` are the Call-IDs that rtpengine has, sessions of its own and foreign ones.

        What it should have and does not is offered to it; what is over elsewhere is taken away. A
        session of its own that is not known here cannot be helped with: rtpengine ignores both for
        those.
        """
        missing: list[Action] = [Notify("set", call) for call in self._sessions.keys() - there]
        over: list[Action] = [Notify("del", call) for call in set(there) - self._sessions.keys()]
        return [*over, *missing]

    def refresh(self) -> list[Action]:
        """Every session of others, as it is now: for an rtpengine that may have an older one."""
        return [Notify("set", call) for call in self.keys(OTHERS)]

    def dropped(self, call: str) -> list[Action]:
        """rtpengine does not have a session that it should serve, and cannot be given it."""
        session = self._sessions.get(call)
        if session is None or session.home not in self.held:
            return []
        del self._sessions[call]
        return [Remove(session.home, call)]

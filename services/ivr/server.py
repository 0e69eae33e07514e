"""What all calls of an IVR server share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from services.core.audio import AudioPlane
from services.core.sip import Call, UserAgent
from services.ivr.boxes import Boxes
from services.ivr.call import Book
from services.ivr.cluster import CallManagers
from services.ivr.keylog import KeyLog
from services.ivr.library import Library
from services.ivr.tapes import Tapes
from services.ivr.ways import Ways
from services.ivr.web import Web


class Journal(Protocol):
    """Live state of calls. Both return at once."""

    def write(self, call: str, record: bytes) -> None:
        """Where a call is."""

    def erase(self, call: str) -> None:
        """It is over."""


class Leaving(Protocol):
    """A call that can be left to another server."""

    def save(self) -> None:
        """See `Session.save`."""

    def leave(self, *, gently: bool) -> None:
        """See `Session.leave`."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """What all calls share. ``book`` gives the newest configuration of a tenant's.

    ``sessions`` are those that are up, ``saves`` what writes them down, by the Call-ID of each of
    their calls. ``journal`` is None where nobody could go on with a call.
    """

    agent: UserAgent
    library: Library
    managers: CallManagers
    keylog: KeyLog
    web: Web
    key: bytes
    domain: str
    book: Callable[[str], Book]
    plane: AudioPlane
    boxes: Boxes
    tapes: Tapes
    ways: Ways
    journal: Journal | None = None
    sessions: set[Leaving] = field(default_factory=set["Leaving"])
    saves: dict[str, Callable[[], None]] = field(default_factory=dict[str, Callable[[], None]])

    def changed(self, call: Call) -> None:
        """A call's export has changed."""
        save = self.saves.get(call.call_id)
        if save is not None:
            save()

"""Call events and the spool that keeps them: append in a worker, read in an agent."""

from services.core.events.tail import Tail, read_all
from services.core.events.types import (
    Answered,
    CallEvent,
    Direction,
    Ended,
    Event,
    Moved,
    Party,
    Quality,
    Ringing,
    Side,
    Started,
    end_id,
    new_id,
)
from services.core.events.writer import EventWriter

__all__ = [
    "Answered",
    "CallEvent",
    "Direction",
    "Ended",
    "Event",
    "EventWriter",
    "Moved",
    "Party",
    "Quality",
    "Ringing",
    "Side",
    "Started",
    "Tail",
    "end_id",
    "new_id",
    "read_all",
]

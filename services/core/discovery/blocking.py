"""When to ask a blocking query again, and with which index: pure.

Source: Consul's API documentation, "Blocking Queries", implementation details.
"""

from __future__ import annotations

SPACING = 0.05
"""Least seconds between two questions of one watch, so that a busy key cannot make it spin."""

_FIRST = 0.1
_LONGEST = 5.0


def next_index(asked: int, answered: int) -> int:
    """The index to ask with next; 0 asks without blocking.

    An index that went backwards means that the registry was restored or its log was reset: start
    anew. An index of 0 would make the next query return at once for ever.
    """
    if answered < asked:
        return 0
    return max(answered, 1)


def is_unborn(seen: int, answered: int, knows_leader: bool) -> bool:
    """Whether an answer comes from a server that has just started, alone, with nothing in it yet.

    A stale read is answered by any server: without a leader an old picture is the best there is,
    but one older than what was ``seen`` is none.
    """
    return answered < seen and not knows_leader


def read_timeout(wait: float) -> float:
    """Seconds until a blocking query that was asked to wait ``wait`` seconds counts as dead.

    Consul adds up to wait/16 of its own; the rest is for the network.
    """
    return wait + max(wait / 15, 1.0)


def backoff(failures: int, jitter: float) -> float:
    """Seconds before the next attempt after ``failures`` in a row; ``jitter`` from 0 to 1.

    Between half and the whole of a doubling delay, so that servers that lost the same registry
    do not come back to it together.
    """
    delay = min(_FIRST * 2.0 ** min(failures - 1, 16), _LONGEST)
    return delay * (0.5 + 0.5 * jitter)

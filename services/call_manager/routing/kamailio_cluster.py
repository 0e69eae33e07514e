"""What the other Call Managers mean for routing, over KSR. On one machine all of it is nothing.

The agent says in hash table ``cluster`` what holds now, with an expiry, so that a Kamailio that was
stopped and goes on knows that it is out of date before anybody tells it:

===========  =====================================================================================
``term``     names the time for which this Call Manager holds the VIP. What began in another term
             is somebody else's now: its timers tell no events and count nothing
``recent``   the VIP has just come here, at this Unix time: calls that rang at its last holder may
             still be coming
``away``     Unix time at which the VIP was last not here. It stays: connections that are older may
             have been given up by their phones
===========  =====================================================================================

Hash table ``elsewhere`` holds, by counter, what calls count for that this Kamailio did not see
begin. Only the agent writes it, as only the workers write ``calls``: the sum is exact.
"""

from __future__ import annotations

import KSR

from services.call_manager.routing.worker import settings

CLUSTER = "cluster"
ELSEWHERE = "elsewhere"
SEVERAL = bool(settings.peers)
_PEERS = frozenset(peer.address for peer in settings.peers)


def term() -> str:
    """The current term; "" on one machine, and where this one does not hold the VIP."""
    return str(KSR.htable.sht_get(CLUSTER, "term") or "") if SEVERAL else ""


def is_recent() -> bool:
    """Whether a request may be of a call that is about to be taken over."""
    if not SEVERAL:
        return False
    # Without a term it is so recent that the agent has not seen it yet.
    return not term() or KSR.htable.sht_get(CLUSTER, "recent") is not None


def since() -> float:
    """Unix time at which the VIP came here, where that is recent; else 0."""
    return float(KSR.htable.sht_get(CLUSTER, "recent") or 0) if SEVERAL else 0.0


def away() -> float:
    """Unix time at which the VIP was last not here; 0 where it always was."""
    return float(KSR.htable.sht_get(CLUSTER, "away") or 0) if SEVERAL else 0.0


def is_current(began: str) -> bool:
    """Whether a call that began in a term is ours. Before the agent's word there was no other."""
    return began in ("", term())


def is_peers_port() -> bool:
    """Whether the current message came by the port that is for Call Managers among themselves."""
    return KSR.pv.get("$Rp") == settings.dmq_port


def is_peer() -> bool:
    """Whether it came from another Call Manager."""
    return KSR.pv.gete("$si") in _PEERS


def is_agent() -> bool:
    """Whether it came from an agent: of this Call Manager or of another one."""
    return KSR.pv.gete("$si") == settings.address or is_peer()


def parties(call_id: str) -> tuple[str, str]:
    """Caller and answering side of a call that began elsewhere, as in a `Record`; "" for trunks."""
    told = str(KSR.htable.sht_get("parties", call_id) or "") if SEVERAL else ""
    caller, _, callee = told.partition("|")
    return caller, callee


def elsewhere(key: str) -> int:
    """What is to be added to a counter of table ``calls``."""
    return int(KSR.htable.sht_get(ELSEWHERE, key) or 0) if SEVERAL else 0


def counted(key: str) -> int:
    """A counter of table ``calls``, with what calls hold that began elsewhere."""
    return int(KSR.htable.sht_get("calls", key) or 0) + elsewhere(key)


class _Sending:
    """The branches of the stage that this process is sending just now."""

    def __init__(self) -> None:
        self._sent: list[tuple[int, str, str]] = []

    def begin(self) -> None:
        self._sent.clear()

    def note(self, index: str, uri: str, hop: str) -> None:
        if SEVERAL:
            self._sent.append((int(index), uri, hop))

    def branches(self) -> tuple[int, tuple[tuple[str, str], ...]]:
        """The number of the first one, and request and next-hop URI of each."""
        self._sent.sort()
        first = self._sent[0][0] if self._sent else 0
        return first, tuple((uri, hop) for _, uri, hop in self._sent)


sending = _Sending()

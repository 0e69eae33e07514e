"""The keys pressed in each call, for a short while: pure.

An application server that goes on with the calls of one that died asks for those that nobody heard.
Where media addresses float, keys come from `tap`. Elsewhere rtpengine 10.5 tells of each key of
RFC 4733 that it passes on, when the key is released (``dtmf-log-dest``): ``callid`` and ``event``,
the key's number in RFC 4733 section 3.2, in what looks like JSON; but nothing in it is escaped
(daemon/dtmf.c: dtmf_json_print).
Keys are secrets, PINs among them: they are kept in memory, and told to nobody's log.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Iterable

from services.core.audio.keys import KEYS

LAST = 64
"""Keys that are kept of a call."""
CALLS = 20_000
"""Calls of which keys are kept, those with the newest ones."""
KEPT = 120.0
"""Seconds after which they have no use any more."""

Pressed = list[tuple[str, float]]
"""Keys and their age in seconds, the oldest first."""


# The whole of it: Call-ID and tags are the phones' choice, and one with a quotation mark in it,
# which RFC 3261 section 25.1 allows in a Call-ID, could say a second callid, another call's. It is
# no match here.
_TOLD = re.compile(
    r'\{"callid":"(?P<call>[^"\\]+)","source_tag":"[^"\\]*","tags":\[[^\]\\]*\],"type":"DTMF",'
    r'"timestamp":[0-9]+,"source_ip":"[0-9a-fA-F:.]*","event":(?P<event>[0-9]{1,3}),'
    r'"duration":[0-9]+,"volume":[0-9]+\}'
)


def read_log(datagram: bytes) -> tuple[str, str] | None:
    """The Call-ID and the key that a datagram of rtpengine's tells of; None if it is none."""
    try:
        found = _TOLD.fullmatch(datagram.decode())
    except UnicodeDecodeError:
        return None
    if found is None or int(found["event"]) >= len(KEYS):
        return None
    return found["call"], KEYS[int(found["event"])]


class Keys:
    """By Call-ID, or by what else tells calls apart. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, deque[tuple[str, float]]] = OrderedDict()

    def pressed(self, call: str, key: str, now: float) -> None:
        """Keep a key of a call's."""
        self._calls.setdefault(call, deque(maxlen=LAST)).append((key, now))
        self._calls.move_to_end(call)
        self.forget(now)

    def of(self, calls: Iterable[str], now: float) -> dict[str, Pressed]:
        """What was pressed in these calls; one without any is left out."""
        self.forget(now)
        return {
            call: [(key, round(now - at, 3)) for key, at in self._calls[call]]
            for call in calls
            if call in self._calls
        }

    def forget(self, now: float) -> None:
        """Let go of what is too old or too much."""
        while self._calls:
            pressed = next(iter(self._calls.values()))
            if len(self._calls) <= CALLS and pressed[-1][1] > now - KEPT:
                return
            self._calls.popitem(last=False)

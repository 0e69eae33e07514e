"""Session timers: RFC 4028. Pure: who refreshes, when, and when the other side is given up."""

from __future__ import annotations

import msgspec

from services.core.sip.message import Message, Request
from services.core.sip.uri import parse_parameters

MINIMUM = 90
"""Seconds: the shortest interval there may be (section 4)."""


class SessionTimer(msgspec.Struct, frozen=True, kw_only=True):
    """``interval`` in seconds, 0 for none; ``ours`` says that we refresh."""

    interval: int = 0
    ours: bool = False

    def due(self, now: float) -> float:
        """When we refresh, or give the other side up (section 10)."""
        if self.ours:
            return now + self.interval / 2
        return now + self.interval - min(32, self.interval / 3)

    def request_fields(self, wanted: int, least: int = MINIMUM) -> list[tuple[str, str]]:
        """For INVITE and UPDATE; ``wanted`` seconds where there is no timer yet, 0 for none."""
        interval = max(self.interval or wanted, least)
        if not (self.interval or wanted):
            return []
        refresher = ""
        if self.interval:
            refresher = ";refresher=uac" if self.ours else ";refresher=uas"
        return [("Session-Expires", f"{interval}{refresher}"), ("Min-SE", str(least))]

    def response_fields(self) -> list[tuple[str, str]]:
        """For the 2xx."""
        if not self.interval:
            return []
        value = f"{self.interval};refresher={'uas' if self.ours else 'uac'}"
        fields = [("Session-Expires", value)]
        return fields if self.ours else [*fields, ("Require", "timer")]


def _expires(message: Message, name: str = "session-expires") -> tuple[int, str]:
    value, _, rest = message.headers.get(name).partition(";")
    value = value.strip()
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        return 0, ""
    try:
        refresher = parse_parameters(f";{rest}").get("refresher", "").lower() if rest else ""
    except ValueError:
        refresher = ""
    return int(value), refresher


def minimum(message: Message) -> int:
    """Its Min-SE, or the least that is allowed."""
    return max(MINIMUM, _expires(message, "min-se")[0])


def too_short(request: Request) -> bool:
    """Whether it deserves a 422 (section 9)."""
    interval, _ = _expires(request)
    return 0 < interval < MINIMUM and "timer" in request.headers.tokens("supported")


def of_request(request: Request, wanted: int) -> SessionTimer:
    """The timer that our 2xx sets (section 9); ``wanted`` as in `SessionTimer.request_fields`."""
    interval, refresher = _expires(request)
    if not interval and not wanted:
        return SessionTimer()
    least = minimum(request)
    interval = max(interval or wanted, least)
    if "timer" not in request.headers.tokens("supported"):
        return SessionTimer(interval=interval, ours=True)
    return SessionTimer(interval=interval, ours=refresher == "uas")


def of_response(response: Message) -> SessionTimer:
    """The timer that a 2xx to our request sets (section 7.2)."""
    interval, refresher = _expires(response)
    if not interval:
        return SessionTimer()
    return SessionTimer(interval=max(interval, MINIMUM), ours=refresher != "uas")

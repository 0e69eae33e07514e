"""Whether a tenant is open. Pure: hours and a time in, a word out."""

from __future__ import annotations

import datetime
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.core.menus import DAYS, Hours

Now = Literal["open", "closed", "holiday"]
_DAY = 24 * 60


def local(hours: Hours, now: float) -> datetime.datetime:
    """The Unix time ``now`` on the clock of these hours; in UTC where the zone is not known."""
    try:
        zone: datetime.tzinfo = ZoneInfo(hours.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = datetime.UTC
    return datetime.datetime.fromtimestamp(now, zone)


def state(hours: Hours, now: float) -> Now:
    """``open``, ``closed`` or ``holiday`` at a Unix time.

    A holiday is one from midnight to midnight; hours that began the evening before end in it.
    """
    there = local(hours, now)
    minute = there.hour * 60 + there.minute
    today, yesterday = there.date(), there.date() - datetime.timedelta(days=1)
    # What began yesterday and is not over yet, unless yesterday was a holiday.
    if yesterday.isoformat() not in hours.holidays and any(
        minute + _DAY < end for _, end in hours.open.get(DAYS[yesterday.weekday()], ())
    ):
        return "open"
    if today.isoformat() in hours.holidays:
        return "holiday"
    spans = hours.open.get(DAYS[today.weekday()], ())
    return "open" if any(begin <= minute < end for begin, end in spans) else "closed"

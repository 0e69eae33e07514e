"""From plain values to a tenant's hours. Holidays of iCalendar files become dates (RFC 5545)."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any, cast
from zoneinfo import available_timezones

from dateutil.rrule import rrulestr
from icalendar import Calendar

from pbxctl.spec.draft import Inputs, Report, kept
from pbxctl.spec.files import read_file
from pbxctl.spec.problems import Path, printable, suggestion
from services.core.menus import DAYS, Hours

MAX_BYTES = 4 * 1024 * 1024
LAST = datetime.date(2060, 1, 1)
"""Feasts that come every year are written out up to here: a document has dates and no rules."""
MOST = 20_000
LONGEST = 400
"""Days of one event; a longer one is a mistake."""

Values = dict[str, Any]


def read_hours(raw: Values, path: Path, inputs: Inputs, report: Report) -> dict[str, Hours]:
    """The hours by name; those with a fault are reported and left out."""
    found: dict[str, Hours] = {}
    for name, value in raw.items():
        if "timezone" not in value or "open" not in value:
            continue
        at: Path = (*path, name)
        zone = value["timezone"]
        if zone not in _zones():
            near = suggestion(zone, _zones())
            report.add((*at, "timezone"), f'no time zone is named "{printable(zone)}"{near}')
            continue
        found[name] = Hours(
            timezone=zone,
            open=_week(value["open"]),
            holidays=_holidays(value.get("closed", []), (*at, "closed"), inputs, report),
        )
    return found


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _week(raw: Values) -> dict[str, tuple[tuple[int, int], ...]]:
    week: dict[int, set[tuple[int, int]]] = {}
    for days, times in raw.items():
        first, _, last = days.partition("-")
        begin = DAYS.index(first)
        length = (DAYS.index(last or first) - begin) % 7 + 1
        spans = {_span(each) for each in ([times] if isinstance(times, str) else kept(times))}
        for offset in range(length):
            week.setdefault((begin + offset) % 7, set()).update(spans)
    return {DAYS[day]: tuple(sorted(week[day])) for day in sorted(week)}


def _span(text: str) -> tuple[int, int]:
    begin, end = (_minutes(part) for part in text.split("-"))
    return (begin, end) if end > begin else (begin, end + 24 * 60)


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _holidays(raw: Any, path: Path, inputs: Inputs, report: Report) -> tuple[str, ...]:
    if not isinstance(raw, dict):
        return tuple(sorted(set(kept(raw))))
    name = cast("Values", raw).get("file", "")
    if not name:
        return ()
    at: Path = (*path, "file")
    shown = printable(name)
    data = read_file(name, MAX_BYTES, at, inputs, report, "holidays")
    if data is None:
        return ()
    try:
        days = set(itertools.islice(_days(data), MOST + 1))
    except Exception as error:  # noqa: BLE001  # the parser raises whatever a broken file meets
        reason = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
        report.add(at, f"{shown} is no iCalendar file: {reason}")
        return ()
    if len(days) > MOST:
        report.add(at, f"{shown} has more than {MOST} days; expected holidays")
        return ()
    if not days:
        report.warn(at, f"{shown} has no event, so no day is a holiday")
    return tuple(sorted(day.isoformat() for day in days))


def _days(data: bytes) -> Iterator[datetime.date]:
    calendar: Any = Calendar.from_ical(data)
    for event in calendar.walk("VEVENT"):
        begin = _date(event["DTSTART"].dt)
        if "DTEND" in event:
            end = _date(event["DTEND"].dt)
        elif "DURATION" in event:
            end = begin + event["DURATION"].dt
        else:
            end = begin
        length = min(max((end - begin).days, 1), LONGEST)
        for first in _repeated(event, begin):
            for offset in range(length):
                yield first + datetime.timedelta(days=offset)


def _repeated(event: Any, begin: datetime.date) -> Iterator[datetime.date]:
    if "RRULE" not in event:
        yield begin
        return
    found = event["RRULE"]
    for rule in cast("list[Any]", found if isinstance(found, list) else [found]):
        start = datetime.datetime.combine(begin, datetime.time())
        text = rule.to_ical().decode()
        # An end in UTC does not fit days without a zone; the day of it is what counts.
        text = ";".join(
            part[:14] if part.startswith("UNTIL=") else part for part in text.split(";")
        )
        for each in iter(rrulestr(text, dtstart=start)):
            if each.date() >= LAST:
                break
            yield each.date()


def _date(value: datetime.date | datetime.datetime) -> datetime.date:
    return value.date() if isinstance(value, datetime.datetime) else value

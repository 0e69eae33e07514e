"""Durations as Go writes them (``1h30m``, ``500ms``), in job files and in Consul's API."""

from __future__ import annotations

import re

_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "\N{MICRO SIGN}s": 1e-6,
    "\N{GREEK SMALL LETTER MU}s": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART = re.compile(rf"(\d+(?:\.\d*)?|\.\d+)({'|'.join(_UNITS)})")


def seconds(text: str) -> float:
    """``text`` in seconds. Raises ValueError if it is no duration. Source: Go's time package."""
    parts = _PART.findall(text)
    if text == "0":
        return 0.0
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f'"{text}" is no duration: write it as 500ms, 10s, 5m or 1h30m')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def text(duration: float) -> str:
    """Seconds as Go prints a duration: ``0s``, ``15s``, ``1m0s``, ``1h0m0s``, ``1.5ms``."""
    if duration == 0:
        return "0s"
    if duration < 1:
        unit, scale = ("ms", 1e3) if duration >= 1e-3 else ("us", 1e6)
        return f"{duration * scale:g}{unit}"
    hours, rest = divmod(duration, 3600)
    minutes, rest = divmod(rest, 60)
    tail = f"{rest:g}s"
    if hours:
        return f"{hours:g}h{minutes:g}m{tail}"
    return f"{minutes:g}m{tail}" if minutes else tail

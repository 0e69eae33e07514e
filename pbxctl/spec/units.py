"""Durations and sizes as a spec writes them."""

from __future__ import annotations

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MIB = {"MiB": 1, "GiB": 1024, "TiB": 1024 * 1024}


def seconds(duration: str) -> int:
    """``10m`` in seconds; the schema has looked at it."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def days(duration: str) -> int:
    """``90d`` in days."""
    return int(duration[:-1])


def mebibytes(size: str) -> int:
    """``2GiB`` in MiB."""
    return int(size[:-3]) * _MIB[size[-3:]]

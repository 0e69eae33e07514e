"""The clock of leases: goes on while the host sleeps, never steps, never means a time of day."""

from __future__ import annotations

import time


def now() -> float:
    """Seconds since boot (clock_gettime(2), CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def now_ns() -> int:
    """The same in ns."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

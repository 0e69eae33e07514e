"""Looks through all objects for garbage when that stops nobody.

A full collection stops the process for longer the more calls are up: 0.15 s with a thousand at an
IVR server, where a lease is 0.25 s. Python begins one after so many new objects, which is when many
calls come, or are taken over. So it makes only short ones itself, of what is young, and all is
looked through once a minute while that is short, else when there are fewer calls.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable

import trio

log = logging.getLogger(__name__)

YOUNG = (5_000, 10, 1_000_000)
"""Python's thresholds: what is collected after these is some ms; of all it is never by itself."""
EVERY = 60.0
SHORT = 0.05
"""Seconds that a full collection may take whatever else happens."""
AT_LEAST_EVERY = 6 * 3600.0
"""Seconds after which there is one, however long it takes: what nobody collects fills memory."""


class Times:
    """Says when; from what the last one took and how many calls there were. Pure."""

    def __init__(self, now: float) -> None:
        self._last = now
        self._took = 0.0
        self._load = 0

    def due(self, now: float, load: int) -> bool:
        """``load`` is the number of calls that are up, or another measure of what there is."""
        expected = self._took * (load + 1) / (self._load + 1)
        pause = EVERY if expected <= SHORT else AT_LEAST_EVERY
        return now >= self._last + pause

    def done(self, now: float, load: int, took: float) -> None:
        """One has been made, and took so many seconds."""
        self._last, self._load, self._took = now, load, took


async def collect(load: Callable[[], int] = lambda: 0) -> None:
    """Take Python's place, for ever. ``load``: see `Times.due`."""
    gc.collect()
    # What is there before the first call stays, and need not be looked at.
    gc.freeze()
    before = gc.get_threshold()
    gc.set_threshold(*YOUNG)
    times = Times(trio.current_time())
    try:
        while True:
            await trio.sleep(EVERY)
            calls = load()
            if times.due(trio.current_time(), calls):
                _collect(times, calls)
    finally:
        gc.set_threshold(*before)


def _collect(times: Times, load: int) -> None:
    began = time.perf_counter()
    gc.collect()
    took = time.perf_counter() - began
    times.done(trio.current_time(), load, took)
    if took > SHORT:
        log.info("looked through all objects for %.2f s, with %d calls up", took, load)

"""Settings of all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

# A shell that puts a job into the background has it ignore Ctrl-C, and so would every program that
# the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Tests that are told to end, by `timeout` say, put away what they have started, as after a Ctrl-C.
signal.signal(signal.SIGTERM, signal.default_int_handler)

# What hypothesis finds by chance is found at a developer's desk; a build gives the same verdict on
# the same tree each time. Shared machines stall, so no example has a deadline of its own.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """Ctrl-C in a nursery comes out in a group, which pytest takes for a test that failed."""
    try:
        yield
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            raise KeyboardInterrupt from group
        raise

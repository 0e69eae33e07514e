"""A server may live on after a fault of its own, and logs it: in a test that is a failure."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_fault(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """For every test of a module that imports it."""
    yield
    assert not [record for record in caplog.records if record.exc_info]

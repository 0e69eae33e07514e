"""A real Call Manager with real media servers: the lab of the tests of calls."""

from __future__ import annotations

from tests.integration.calls.conftest import _lab, lab

__all__ = ["_lab", "lab"]

"""A plane on a loopback network of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from services.core.audio import AudioPlane
from tests.support.hosts import loopback_network


@pytest.fixture
def network() -> Iterator[str]:
    with loopback_network() as found:
        yield found


@pytest.fixture
async def plane(network: str) -> AsyncIterator[AudioPlane]:
    async with AudioPlane(f"{network}.1", ports=(30000, 30007), capacity=64) as running:
        yield running

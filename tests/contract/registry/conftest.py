from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from services.core.discovery import Registry
from tests.contract.registry.implementations import IMPLEMENTATIONS


@pytest.fixture(params=list(IMPLEMENTATIONS))
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    async with IMPLEMENTATIONS[request.param]() as base:
        yield base


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{url}/v1/", trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
async def registry(url: str) -> AsyncIterator[Registry]:
    async with Registry(url) as client:
        yield client

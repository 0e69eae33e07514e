"""A Nomad of one server and two clients, kept for a module, and an engine for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import trio

from tests.cluster.lab import Lab, lab, until
from tests.cluster.nomad.bench import Bench
from tests.cluster.nomad.forward import forward


@pytest.fixture(scope="module")
def hosts() -> Iterator[Lab]:
    with lab(nomad=("cm1", "media1")) as made:
        trio.run(made.consul_ready)
        trio.run(made.nomad_ready)
        yield made


@pytest.fixture
async def bench(hosts: Lab, tmp_path: Path) -> AsyncIterator[Bench]:
    """Whatever a test leaves in Nomad is gone after it."""
    async with trio.open_nursery() as nursery:
        nomad = await nursery.start(forward, hosts["cm1"], 4646)
        consul = await nursery.start(forward, hosts["cm1"], 8500)
        made = Bench(hosts, tmp_path, nomad, consul)
        try:
            yield made
        finally:
            await _clean(made)
        nursery.cancel_scope.cancel()


async def _clean(bench: Bench) -> None:
    async def empty() -> bool:
        try:
            jobs = await bench.api("GET", "/v1/jobs?namespace=*")
            for each in jobs:
                await bench.api("DELETE", f"/v1/job/{each['ID']}?purge=true")
            allocs = await bench.api("GET", "/v1/allocations")
        except httpx.HTTPError:
            return False  # a test has just killed it
        return not jobs and all(
            each["ClientStatus"] in ("complete", "failed", "lost") for each in allocs
        )

    await until("an empty Nomad", empty, within=240, why=bench.lab.logs)

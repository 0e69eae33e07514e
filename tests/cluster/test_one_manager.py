"""A cluster with one manager: nobody to agree with, and yet all of it works."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from services.core.vip import holder_of, vip_key
from tests.cluster.call_managers import CLUSTER, CallManagers, call_managers
from tests.cluster.lab import until
from tests.cluster.media_fleet import media_fleet


@pytest.fixture(scope="module")
def managers() -> Iterator[CallManagers]:
    with call_managers(("cm1",)) as found:
        trio.run(found.start)
        yield found


async def test_it_has_the_vip(managers: CallManagers) -> None:
    host = await managers.ready()
    network = managers.network
    assert {network.vip, network.vip6} <= host.addresses()
    assert (await managers.api(host, "/v1/failover"))["holder"] == "cm1"


async def test_roles_that_follow_the_vip_find_it(managers: CallManagers) -> None:
    host = await managers.ready()

    async def noted() -> bool:
        async with host.http() as client:
            answer = await client.get(f"/v1/kv/{vip_key(CLUSTER)}?raw")
        return answer.is_success and holder_of(answer.content) == "cm1"

    await until("the registry's name of the holder", noted, why=managers.network.logs)


async def test_it_has_the_vip_again_after_power_off(managers: CallManagers) -> None:
    host = await managers.ready()
    host.power_off()
    host.power_on()
    assert await managers.ready() is host
    assert managers.holders() == [host]


async def test_a_media_server_has_its_floating_address() -> None:
    """It holds it as long as the one manager probes it."""
    with media_fleet(("ms1",), ("cm1",)) as fleet:
        await fleet.network.consul_ready()
        fleet.start()
        await fleet.at_home()
        assert fleet.address("ms1") in fleet.servers["ms1"].addresses()
        fleet.managers[0].unplug()

        async def fenced() -> bool:
            await trio.lowlevel.checkpoint()
            return fleet.address("ms1") not in fleet.servers["ms1"].addresses()

        await until("the address gone", fenced, why=fleet.network.logs)
        fleet.managers[0].plug()
        await fleet.at_home()

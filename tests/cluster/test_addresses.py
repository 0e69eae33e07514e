"""Floating addresses on a real kernel: there while they are kept, gone by themselves, no source."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from services.core.failover.addresses import AddressError, Addresses
from tests.cluster.lab import Host, Lab, Process, lab, until
from tests.cluster.managers import on


@pytest.fixture(scope="module")
def network() -> Iterator[Lab]:
    with lab(plain=("one", "two")) as found:
        yield found


@pytest.fixture
def host(network: Lab) -> Host:
    return network["one"]


def both(network: Lab) -> tuple[str, str]:
    return f"{network.vip}/24", f"{network.vip6}/64"


def shown(host: Host, *words: str) -> str:
    done = subprocess.run(
        ["ip", "-n", host.namespace, *words], capture_output=True, text=True, check=True
    )
    return done.stdout


async def settled(host: Host) -> str:
    """What is on the host, once none of it is being tested for duplicates (RFC 4862)."""
    await trio.lowlevel.checkpoint()
    found = shown(host, "addr")
    return "" if " tentative" in found else found


async def gone(host: Host, *addresses: str) -> None:
    async def so() -> bool:
        await trio.lowlevel.checkpoint()
        return not set(addresses) & host.addresses()

    await until("the addresses gone", so, within=120)


async def test_both_families_are_kept_and_dropped(network: Lab, host: Host) -> None:
    addresses = Addresses(both(network), host.address)
    await on(host, addresses.keep)
    await on(host, addresses.keep)
    assert {network.vip, network.vip6} <= host.addresses()
    assert {place.interface for place in addresses.places} == {"eth0"}
    assert all(place.mac for place in addresses.places)
    await on(host, addresses.drop)
    assert not {network.vip, network.vip6} & host.addresses()
    await on(host, addresses.drop)


async def test_the_kernel_ends_what_nobody_refreshes(network: Lab, host: Host) -> None:
    await on(host, Addresses(both(network), host.address).keep)
    await gone(host, network.vip, network.vip6)
    assert {host.address, host.address6} <= host.addresses()


async def test_nothing_is_sent_from_it_unasked_and_no_route_is_its_own(
    network: Lab, host: Host
) -> None:
    before = shown(host, "route"), shown(host, "-6", "route")
    addresses = Addresses(both(network), host.address)
    await on(host, addresses.keep)
    other = network["two"]
    for target in (other.address, other.address6, "198.51.100.1"):
        assert network.vip not in shown(host, "route", "get", target)
        assert network.vip6 not in shown(host, "route", "get", target)
    assert (shown(host, "route"), shown(host, "-6", "route")) == before
    await on(host, addresses.drop)


async def test_what_an_earlier_life_left_is_dropped(network: Lab, host: Host) -> None:
    await on(host, Addresses(both(network), host.address).keep)
    await on(host, Addresses(both(network), host.address).drop)
    assert not {network.vip, network.vip6} & host.addresses()


async def test_an_address_outside_goes_beside_the_hosts_own(network: Lab, host: Host) -> None:
    addresses = Addresses(("192.0.2.10/32",), host.address)
    await on(host, addresses.keep)
    assert "192.0.2.10" in host.addresses()
    await on(host, addresses.drop)


async def test_no_interface_is_said_with_both_addresses(host: Host) -> None:
    with pytest.raises(AddressError, match=r"192\.0\.2\.10.*203\.0\.113\.5"):
        await on(host, Addresses(("192.0.2.10/24",), "203.0.113.5").keep)


async def test_a_single_manager_simply_has_it(network: Lab, host: Host) -> None:
    process = holder(host, f"{network.vip}/24", f"{network.vip6}/64")
    await process.says("vip is held here", within=120)
    assert {network.vip, network.vip6} <= host.addresses()
    process.terminate()
    assert await process.wait() == 0
    assert not {network.vip, network.vip6} & host.addresses()


async def test_an_address_that_is_the_hosts_is_left_alone(host: Host) -> None:
    before = await until("addresses to settle", lambda: settled(host), within=30)
    process = holder(host, f"{host.address}/24")
    await process.says("vip is held here", within=120)
    assert shown(host, "addr") == before
    process.terminate()
    assert await process.wait() == 0
    assert shown(host, "addr") == before


def holder(host: Host, *cidrs: str) -> Process:
    """The only manager, as a process on the host."""
    words = [sys.executable, "-m", "tests.cluster.holder", host.address, *cidrs]
    return host.start(words, env={"PYTHONPATH": str(Path(__file__).parents[2])})

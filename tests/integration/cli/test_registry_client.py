"""The operator's client against a real registry: the embedded one."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
import trio

from pbxctl.apply import Work, write_documents
from pbxctl.registry_client import RegistryClient, RegistryError
from services.core import configuration
from services.core.configuration import Manifest, Switch
from services.core.discovery import Check, Registry, Service
from tests.contract.registry.implementations import embedded
from tests.support.hosts import loopback_network


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with embedded() as base:
        yield base


async def register(registry: Registry, cluster: str, server: str) -> str:
    service_id = f"{cluster}-media-{server}"
    await registry.register(
        Service(
            id=service_id,
            name="media",
            address="127.0.0.1",
            port=2223,
            tags=(cluster, "release-1.0.0"),
            meta={
                "cluster": cluster,
                "server": server,
                "release": "1.0.0",
                "capacity": "2500",
                "admin": "http://127.0.0.1:7081/",
            },
            checks=(Check(ttl=30),),
        )
    )
    return service_id


async def test_services_of_one_cluster_with_what_their_checks_say(url: str) -> None:
    async with Registry(url) as registry:
        first = await register(registry, "acme", "m1")
        second = await register(registry, "acme", "m2")
        await register(registry, "other", "m1")
        await registry.report(first, "passing", "RTP echo 0.3 ms")
        await registry.report(second, "critical", "no RTP echo in 0.8 s")
    with RegistryClient(url, "acme") as client:
        found = await client.services(["call-manager", "media"])
    assert [(each.id, each.status, each.check) for each in found] == [
        (first, "passing", "RTP echo 0.3 ms"),
        (second, "critical", "no RTP echo in 0.8 s"),
    ]
    assert found[0].capacity == 2500
    assert found[0].admin == "http://127.0.0.1:7081"
    assert (found[0].address, found[0].port) == ("127.0.0.1", 2223)


def work(documents: dict[str, bytes], delete: tuple[str, ...] = ()) -> Work:
    digests = {key: configuration.digest(value) for key, value in documents.items()}
    manifest = Manifest(spec_hash="h", release="1", documents=digests)
    return Work(
        new=(),
        changed=(),
        set_back=(),
        leaving=(),
        write=documents,
        delete=delete,
        manifest=configuration.encode(manifest),
    )


async def test_documents_are_written_and_removed(url: str) -> None:
    with RegistryClient(url, "acme") as client:
        assert await client.documents() == (None, {})
        await write_documents(client, work({"cluster": b"{}", "numbers/a/0": b'{"+49":1}'}))
        manifest, documents = await client.documents()
        assert manifest is not None
        assert manifest.documents.keys() == documents.keys() == {"cluster", "numbers/a/0"}
        await write_documents(client, work({"cluster": b"{ }"}, ("numbers/a/0",)))
        _, documents = await client.documents()
        assert documents == {"cluster": b"{ }"}


async def test_a_set_of_documents_becomes_whole_though_cancelled(url: str) -> None:
    many = {f"trunks/t{number}": b"{}" for number in range(20)}
    with RegistryClient(url, "acme") as client:
        with trio.CancelScope() as scope:
            scope.cancel()
            await write_documents(client, work(many))
        manifest, documents = await client.documents()
    assert manifest is not None
    assert manifest.documents.keys() == documents.keys() == many.keys()


async def test_a_manifest_that_nobody_can_read_counts_as_none(url: str) -> None:
    with RegistryClient(url, "acme") as client:
        await client.write("manifest", b"\xff not JSON")
        assert await client.documents() == (None, {})


async def test_switches(url: str) -> None:
    switch = Switch(state="disabled", reason="new NIC", by="anna")
    async with Registry(url) as registry:
        await registry.put("pbx/acme/switches/m1/media", configuration.encode(switch))
        await registry.put("pbx/acme/switches/m2/media", b"?")
    with RegistryClient(url, "acme") as client:
        assert await client.switches() == {("m1", "media"): switch}


async def test_a_registry_that_is_away_is_a_message() -> None:
    with (
        loopback_network() as network,
        RegistryClient(f"http://{network}.1:8500", "acme") as client,
        pytest.raises(RegistryError, match=r"registry at http://127.* cannot be reached"),
    ):
        await client.documents()


async def test_a_registry_that_hangs_is_a_message_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pbxctl.registry_client.TIMEOUT", 0.3)
    with loopback_network() as network, socket.socket() as silent:
        silent.bind((f"{network}.1", 8500))
        silent.listen()
        with (
            RegistryClient(f"http://{network}.1:8500", "acme") as client,
            trio.fail_after(5),
            pytest.raises(RegistryError, match=r"did not answer within 0\.3 s"),
        ):
            await client.documents()


async def test_roles_and_servers_from_whoever_answers(url: str) -> None:
    async with Registry(url) as registry:
        await register(registry, "acme", "m1")
        await register(registry, "other", "m2")
    with RegistryClient(url, "acme", stale=True) as client:
        assert await client.has_leader()
        assert await client.roles() == ["media"]
        assert [each.server for each in await client.services(["media"])] == ["m1"]


async def test_a_service_of_a_dead_role_is_forgotten(url: str) -> None:
    async with Registry(url) as registry:
        dead = await register(registry, "acme", "m1")
    with RegistryClient(url, "acme") as client:
        (service,) = await client.services(["media"])
        assert service.id == dead
        await client.forget(service)
        await client.forget(service)
        assert await client.services(["media"]) == ()

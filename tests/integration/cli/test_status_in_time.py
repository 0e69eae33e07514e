"""`pbxctl status` where engine, registry and Call Managers hang: it says so, in seconds."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trio

from pbxctl.commands.status import report
from pbxctl.engines.nomad import NomadEngine, place
from services.core.discovery import Check, Registry, Service
from tests.contract.registry.implementations import embedded
from tests.support.hosts import loopback_network

CLUSTER = "acme"
SECONDS = 20.0
"""What the deadlines come to is 7; the rest is for a machine that is busy. One more read of 30 s,
which is a library's own time-out, is too much."""


@contextmanager
def silent(*addresses: tuple[str, int]) -> Iterator[None]:
    """Listeners that take connections and never answer, as hung programs do."""
    with ExitStack() as stack:
        for address in addresses:
            # It may be bound again while an earlier test's connections linger.
            stack.enter_context(socket.create_server(address))
        yield


def engine(tmp_path: Path, nomad: str, consul: str) -> NomadEngine:
    secrets = tmp_path / CLUSTER / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "admin_token").write_text("token\n")
    where = place({"NOMAD_ADDR": nomad, "CONSUL_HTTP_ADDR": consul})
    return NomadEngine(CLUSTER, tmp_path / CLUSTER, where)


async def manager(registry: Registry, server: str, admin: str) -> None:
    service_id = f"{CLUSTER}-call-manager-{server}"
    await registry.register(
        Service(
            id=service_id,
            name="call-manager",
            address="127.0.0.1",
            port=5060,
            tags=(CLUSTER, "release-1.0.0"),
            meta={"cluster": CLUSTER, "server": server, "release": "1.0.0", "admin": admin},
            checks=(Check(ttl=30),),
        )
    )
    await registry.report(service_id, "passing", "SIP OPTIONS 1 ms")


async def test_all_of_them_hang(tmp_path: Path) -> None:
    with loopback_network() as network:
        host = f"{network}.1"
        with silent((host, 4646), (host, 8500)), trio.fail_after(SECONDS):
            found = await report(
                engine(tmp_path, f"http://{host}:4646", f"http://{host}:8500"), CLUSTER
            )
    assert not found.healthy
    assert found.servers == ()
    assert found.calls is None
    assert sorted(found.problems) == [
        "the engine did not say within 4 s what runs: of jobs nothing is known",
        "the registry did not answer within 4 s: of servers nothing is known",
    ]


async def test_what_the_registry_knows_is_shown_though_the_rest_hangs(tmp_path: Path) -> None:
    with loopback_network() as network:
        host = f"{network}.1"
        async with embedded() as consul, Registry(consul) as registry:
            for number, server in enumerate(("cm1", "cm2")):
                await manager(registry, server, f"http://{host}:{7080 + number}")
            with silent((host, 4646), (host, 7080), (host, 7081)), trio.fail_after(SECONDS):
                found = await report(engine(tmp_path, f"http://{host}:4646", consul), CLUSTER)
    assert [(row.server, row.state) for row in found.servers] == [("cm1", "up"), ("cm2", "up")]
    assert found.calls is None
    assert found.registered is None
    assert not found.healthy
    for server in ("cm1", "cm2"):
        assert f"Call Manager {server}: did not answer within 3 s" in found.problems

"""What `pbxctl host-config` writes, on hosts that have nothing else: agents, TLS, tokens."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.cluster.lab import Host, Lab, engines, lab, until

ROOT = Path(__file__).parents[2]
HOSTS = ("cm1", "cm2", "cm3", "media1", "media2")
PASSWORDS = ("PASSWORD_2001", "PASSWORD_2002", "PASSWORD_2003", "CARRIER_A_PASSWORD")

AS_A_ROLE = """
import sys, trio
from pathlib import Path
from services.core.discovery import Check, Registry, RegistryError, Service, Session

async def main():
    with trio.fail_after(180):
        await work()

async def work():
    directory = Path("/var/lib/pbx/ha-cluster/secrets")
    token = (directory / "consul_token").read_text().strip()
    service = Service(id="media-x", name="media", checks=(Check(ttl=10),))
    async with Registry("http://127.0.0.1:8500", token) as registry:
        await registry.register(service)
        await registry.report("media-x", "passing", "well")
        session = await registry.create_session(Session(name="x"))
        assert await registry.put("pbx/ha-cluster/floating/x", b"me", acquire=session)
        assert await registry.put("service/ha-cluster/leader", b"me")
        while not await registry.health("media"):
            await trio.sleep(0.1)
        try:
            await registry.put("pbx/other/x", b"")
        except RegistryError as refused:
            print("other cluster:", refused)
        await registry.destroy_session(session)
        await registry.deregister("media-x")
    async with Registry("http://127.0.0.1:8500") as nobody:
        try:
            await nobody.put("pbx/ha-cluster/x", b"")
        except RegistryError as refused:
            print("no token:", refused)

trio.run(main)
"""


class Cluster:
    """The hosts, each with the files of its own, and what the operator keeps."""

    def __init__(self, network: Lab) -> None:
        self.network = network
        self.state = network.directory / "state"
        self.spec = network.directory / "spec.yaml"
        self.spec.write_text(self._addressed((ROOT / "examples/ha-cluster.yaml").read_text()))

    def _addressed(self, text: str) -> str:
        for host in self.network.hosts.values():
            text = re.sub(rf"(name: {host.name}, address: )[0-9.]+", rf"\g<1>{host.address}", text)
        return text.replace("10.20.0.", f"{self.network.network}.")

    def written(self, host: Host) -> Path:
        """The output directory of one host, written now."""
        target = self.network.directory / "out" / host.name
        words = [sys.executable, "-m", "pbxctl", "host-config", host.name, str(self.spec)]
        subprocess.run(
            [*words, "--out", str(target), "--state-dir", str(self.state)],
            env={**os.environ, **dict.fromkeys(PASSWORDS, "secret")},
            check=True,
            capture_output=True,
            timeout=240,
        )
        return target

    def key(self, name: str) -> str:
        return (self.state / "ha-cluster" / "keys" / name).read_text().strip()

    def management(self) -> dict[str, str]:
        return {
            "CONSUL_HTTP_TOKEN": self.key("consul_management_token"),
            "NOMAD_TOKEN": self.key("nomad_management_token"),
        }

    async def install(self, host: Host) -> None:
        """As an operator does: copy, install, start the units' commands."""
        root = host.own_root()
        shutil.copytree(self.written(host), root / "root" / "host")
        await host.run(["/root/host/install", "--files"])
        for engine in ("consul", "nomad"):
            (root / "usr/bin" / engine).symlink_to(engines.program(engine))
            self.start(host, engine)

    def start(self, host: Host, engine: str) -> None:
        """What systemd would run for a unit, as its user."""
        unit = host.own_root() / "etc/systemd/system" / f"{engine}.service"
        fields = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line)
        user = fields["User"]
        who = [f"--reuid={user}", f"--regid={user}", "--init-groups"]
        words = ["setpriv", *who, *shlex.split(fields["ExecStart"])]
        host.start(words, name=engine, env=engines.FRUGAL)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with lab(plain=HOSTS) as network:
        made = Cluster(network)
        trio.run(partial(_begin, made))
        yield made


async def _begin(made: Cluster) -> None:
    for host in made.network.hosts.values():
        await made.install(host)
    await made.network["cm1"].run(["/root/host/bootstrap"], within=300)


async def test_hosts_find_each_other_with_keys_and_tokens_only(cluster: Cluster) -> None:
    host = cluster.network["cm2"]

    async def complete() -> bool:
        members = await host.run(["consul", "members"], env=cluster.management(), check=False)
        nodes = await host.run(["nomad", "node", "status"], env=cluster.management(), check=False)
        return members.stdout.count("alive") == 5 == nodes.stdout.count("ready")

    await until("five hosts in Consul and Nomad", complete, within=180, why=cluster.network.logs)
    for words in (["consul", "kv", "put", "x", "1"], ["nomad", "node", "status"]):
        refused = await host.run(words, check=False)
        assert refused.returncode
        assert "403" in refused.stderr or "denied" in refused.stderr.lower()


async def test_the_bootstrap_may_run_again(cluster: Cluster) -> None:
    done = await cluster.network["cm1"].run(["/root/host/bootstrap"], within=300)
    assert done.stdout.splitlines()[-1] == "Nomad: was done"


async def test_a_role_may_what_it_must_and_no_more(cluster: Cluster) -> None:
    words = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-c", AS_A_ROLE]
    said = (await cluster.network["media1"].run(words, within=120)).stdout.splitlines()
    assert [line.partition(":")[0] for line in said] == ["other cluster", "no token"]
    assert all("403" in line or "denied" in line.lower() for line in said), said


# Consul's bytes for TLS, and within it for streams over one connection; a ping of those (yamux).
TLS, STREAMS, PING = b"\x03", b"\x04", bytes([0, 2, 0, 1]) + bytes(8)


async def answered(one: Host, other: Host, context: ssl.SSLContext) -> bool:
    """Whether Consul's server on ``other`` answers within TLS, rather than to close."""
    raw = trio.socket.from_stdlib_socket(one.socket(kind=socket.SOCK_STREAM))
    with raw, trio.fail_after(120):
        await raw.connect((other.address, 8300))
        stream = trio.SocketStream(raw)
        await stream.send_all(TLS)
        try:
            secure = trio.SSLStream(stream, context)
            await secure.send_all(STREAMS + PING)
            return bool(await secure.receive_some(1))
        except (ssl.SSLError, trio.BrokenResourceError):
            return False


async def test_who_has_no_certificate_is_refused(cluster: Cluster) -> None:
    one, other = cluster.network["media1"], cluster.network["cm1"]
    tls = one.own_root() / "etc/pbx/tls"
    context = ssl.create_default_context(cafile=str(tls / "ca.pem"))
    context.check_hostname = False
    assert not await answered(one, other, context)
    context.load_cert_chain(tls / "consul/host.pem", tls / "consul/host.key")
    assert await answered(one, other, context)


async def test_secrets_are_for_their_owner_alone(cluster: Cluster) -> None:
    host = cluster.network["media1"]
    root = host.own_root()
    secrets = root / "var/lib/pbx/ha-cluster/secrets"
    names = {path.name for path in secrets.iterdir()}
    assert {"cluster_key", "admin_token", "consul_token"} <= names
    assert not any(name.startswith("database") for name in names)
    paths = [
        *secrets.iterdir(),
        *root.glob("etc/*.d/secrets.hcl"),
        *root.glob("etc/pbx/tls/*/*.key"),
    ]
    assert len(paths) >= 7
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    assert "initial_management" not in (root / "etc/consul.d/secrets.hcl").read_text()


async def test_a_second_install_changes_nothing(cluster: Cluster) -> None:
    done = await cluster.network["cm3"].run(["/root/host/install", "--files"])
    assert done.stdout == ""
    path = cluster.network["cm3"].own_root() / "etc/sysctl.d/60-pbx.conf"
    path.write_text("changed by hand\n")
    done = await cluster.network["cm3"].run(["/root/host/install", "--files"])
    assert done.stdout == "wrote /etc/sysctl.d/60-pbx.conf\n"

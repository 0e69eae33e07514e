"""Consul and Nomad on hosts, configured as `pbxctl host-config` configures them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pbxctl.host_config import consul, hcl, nomad
from pbxctl.host_config.agent import Agent
from tests.cluster.lab.host import Host
from tests.cluster.lab.process import Process

ENGINES = Path(__file__).parents[3] / ".cache" / "engines"

# Two cores carry all hosts of all labs.
FRUGAL = {"GOMAXPROCS": "2", "GOGC": "200"}

NICE = -10
"""As in Consul's unit (`pbxctl.host_config.systemd`): gossip is in time on a busy host too."""


def program(name: str) -> Path:
    """The built engine. Raises RuntimeError that says how to build it."""
    path = ENGINES / name
    if not path.exists():
        raise RuntimeError(f"{name} is not built: run make engines")
    return path


def start_consul(host: Host, peers: Mapping[str, str]) -> Process:
    """``peers`` are the servers' addresses by name; the host may or may not be one."""
    body = consul.configuration(agent(host, "consul", peers))
    return _start(host, "consul", hcl.render(body), ["agent", "-config-file"], nice=NICE)


def start_nomad(host: Host, peers: Mapping[str, str]) -> Process:
    """As `start_consul`."""
    body = nomad.configuration(agent(host, "nomad", peers), interface=host.interface)
    return _start(host, "nomad", hcl.render(body), ["agent", "-config"])


def agent(host: Host, engine: str, peers: Mapping[str, str]) -> Agent:
    """What an agent of a lab is configured from: no TLS, no tokens."""
    return Agent(
        name=host.name,
        address=host.address,
        server=host.name in peers,
        peers=tuple(peers.values()),
        data=host.directory / engine,
        log_level="WARN",
    )


def _start(host: Host, engine: str, text: str, arguments: list[str], *, nice: int = 0) -> Process:
    path = host.directory / f"{engine}.hcl"
    path.write_text(text)
    words = [program(engine), *arguments, path]
    # Nomad's plug-ins leave their sockets where they are killed.
    env = FRUGAL | {"TMPDIR": str(host.directory)}
    return host.start(words, env=env, name=engine, nice=nice)

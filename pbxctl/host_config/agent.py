"""What Consul's and Nomad's configuration of one host is made from."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Paths on the host of PEM files."""

    ca: Path
    certificate: Path
    key: Path


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """One host's agent of Consul or Nomad.

    ``peers`` are the addresses of all servers of the cluster, this one's included; ``server`` says
    whether this is one of them. Without ``tls`` and ``acl`` nothing is protected: for tests, where
    nobody else is on the network.
    """

    name: str
    address: str
    server: bool
    peers: tuple[str, ...]
    data: Path
    datacenter: str = "pbx"
    tls: Tls | None = None
    acl: bool = False
    log_level: str = "INFO"

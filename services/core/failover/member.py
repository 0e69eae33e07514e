"""Who this process is among the managers and those whom they probe."""

from __future__ import annotations

import msgspec

from services.core.settings import Peer, Settings, parse_peers


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """``managers`` are all of the cluster's, ``key`` is 32 bytes, ``port`` is UDP.

    ``service`` is the id under which this process is registered: what it holds ends with the
    service's TTL check.
    """

    cluster: str
    role: str
    server: str
    address: str
    port: int
    managers: tuple[Peer, ...] = ()
    key: bytes
    service: str = ""
    is_manager: bool = False

    @property
    def name(self) -> str:
        """``<role>/<server>``: by this it is probed."""
        return f"{self.role}/{self.server}"

    @property
    def probe(self) -> str:
        """``address:port``, for the service's meta; empty where nobody probes."""
        if not self.managers:
            return ""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"

    @property
    def alone(self) -> bool:
        """Whether there is nobody to agree with: one machine, or a single manager."""
        return self.others == () and (self.is_manager or not self.managers)

    @property
    def others(self) -> tuple[Peer, ...]:
        """The managers on other servers; for one that is no manager, all."""
        if not self.is_manager:
            return self.managers
        return tuple(peer for peer in self.managers if peer.name != self.server)

    @property
    def quorum(self) -> int:
        """How many managers grant a lease, and how many suspicions end one: their majority.

        A manager that holds counts itself, so it needs one grant fewer.
        """
        return len(self.managers) // 2 + 1


def member_of(settings: Settings, role: str, *, port: int, managers: str) -> Member:
    """This process as its settings have it; a Call Manager is a manager.

    Raises SettingsError where ``managers`` cannot be read or the cluster key is missing.
    """
    return Member(
        cluster=settings.cluster,
        role=role,
        server=settings.server,
        address=settings.address,
        port=port,
        managers=parse_peers(managers),
        key=settings.cluster_key(),
        service=f"{settings.cluster}-{role}-{settings.server}",
        is_manager=role == MANAGER,
    )


MANAGER = "call-manager"
"""The role whose agents probe and vote."""

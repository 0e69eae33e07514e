"""Ports: what one server listens on may not meet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from pbxctl.spec.draft import Draft, Report
from pbxctl.spec.model import Server
from services.ivr.settings import AUDIO_PORTS

PORTS_A_CALL = 4
"""RTP and RTCP for each of two legs."""

REGISTRY_ADDRESS = "127.0.0.1"
RANGES = {"probe": 5, "ivr_audio": AUDIO_PORTS}
"""Settings that are the first of several ports: one for each role that is probed, say."""
HOST_PORTS: tuple[tuple[str, Literal["udp", "tcp"], int, int], ...] = (
    ("Consul's servers", "tcp", 8300, 8302),
    ("Consul's gossip", "udp", 8301, 8302),
    ("Nomad", "tcp", 4646, 4648),
    ("Nomad's gossip", "udp", 4648, 4648),
)
"""What runs on every host of a cluster beside the PBX, on HashiCorp's own ports."""


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """``path`` is the setting's in the spec; ``first`` to ``last`` are ports, both included."""

    path: tuple[str, ...]
    what: str
    address: str
    protocol: Literal["udp", "tcp"]
    first: int
    last: int

    def meets(self, other: Listener) -> bool:
        """Whether both cannot listen."""
        return (
            (self.address, self.protocol) == (other.address, other.protocol)
            and self.first <= other.last
            and other.first <= self.last
        )


def check(draft: Draft, report: Report) -> None:
    """Report ports that meet, and a media range that is empty or too small."""
    network = draft.network
    if network.media_from > network.media_to:
        text = f"from {network.media_from} to {network.media_to} is no port"
        report.add(("network", "media"), text)
        return
    seen: set[tuple[object, ...]] = set()
    for _, server in draft.servers:
        listeners = list(listening(draft, server))
        for index, one in enumerate(listeners):
            for other in listeners[:index]:
                if one.meets(other) and (one.path, other.path) not in seen:
                    seen.add((one.path, other.path))
                    _report(one, other, server, report)
    span = network.media_to - network.media_from + 1
    for index, server in draft.servers:
        if "media" in server.roles and server.calls("media") * PORTS_A_CALL > span:
            text = (
                f"{server.name} is to carry {server.calls('media')} calls, but {span} media ports"
            )
            text += f" are enough for {span // PORTS_A_CALL}, at {PORTS_A_CALL} ports a call"
            report.warn(("servers", index, "capacity"), text)


def _report(one: Listener, other: Listener, server: Server, report: Report) -> None:
    port = max(one.first, other.first)
    text = f"port {port} is for {one.what} and for {other.what} on {server.name}"
    # Point at one that the spec gives, rather than at a default.
    given = [listener for listener in (one, other) if _is_given(report, listener)]
    report.add((given or [one])[0].path, f"{text}; give one of them another")


def _is_given(report: Report, listener: Listener) -> bool:
    node = report.root
    if listener.path == ("servers",):
        return False  # no setting of the spec's
    for step in listener.path:
        below = node.child(step)
        if below is None:
            return False
        node = below
    return True


def listening(draft: Draft, server: Server) -> Iterator[Listener]:
    """Everything that listens on a server's addresses."""
    ports = draft.network.ports

    def one(
        name: str, what: str, protocol: Literal["udp", "tcp"], address: str = server.address
    ) -> Listener:
        port: int = getattr(ports, name)
        return Listener(
            path=("network", "ports", name),
            what=what,
            address=address,
            protocol=protocol,
            first=port,
            last=port + RANGES.get(name, 1) - 1,
        )

    if "call-manager" in server.roles:
        yield one("sip", "SIP", "udp")
        yield one("sip", "SIP", "tcp")
        yield one("tls", "SIP over TLS", "tcp")
        yield one("wss", "SIP over WebSocket", "tcp")
        yield one("admin", "the call manager's admin API", "tcp")
    if "media" in server.roles:
        yield one("control", "media control", "udp")
        yield one("announce", "announcements", "udp")
        yield one("media_admin", "the media server's admin API", "tcp")
        yield Listener(
            path=("network", "media"),
            what="audio",
            address=server.media_address,
            protocol="udp",
            first=draft.network.media_from,
            last=draft.network.media_to,
        )
    if "ivr" in server.roles:
        yield one("ivr", "SIP of the IVR server", "udp")
        yield one("ivr_admin", "the IVR server's admin API", "tcp")
        yield one("ivr_audio", "audio of the IVR server", "udp")
    if draft.engine == "local":
        yield one("registry", "the registry", "tcp", REGISTRY_ADDRESS)
        return
    yield one("probe", "probes", "udp")
    if "call-manager" in server.roles:
        yield one("dmq", "registrations between call managers", "udp")
        yield one("database", "the database", "tcp")
        yield one("live", "live state", "tcp")
    for what, protocol, first, last in HOST_PORTS:
        yield Listener(
            path=("servers",),
            what=what,
            address=server.address,
            protocol=protocol,
            first=first,
            last=last,
        )

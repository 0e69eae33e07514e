"""What a media server is told by its job."""

from __future__ import annotations

from pathlib import Path

from services.core.settings import Peer, Settings, parse_live, parse_peers


class MediaSettings(Settings, frozen=True, kw_only=True):
    """``control_address`` and ``control_port``: rtpengine's ng protocol over UDP.

    It asks nobody who he is, so only Call Managers may reach it; empty means ``address``.
    ``media_address`` is where phones send RTP. ``capacity`` is simultaneous calls.
    ``announce_port``: SIP, for the announcements it plays to callers before a final answer.
    ``keys_port`` (UDP, on ``address``): where rtpengine tells the agent of keys, where
    addresses do not float.

    In a cluster: ``managers`` as `parse_peers` reads them and ``probe_port`` (UDP) for failure
    detection. ``media_addresses``: every floating address, those kept for servers to come among
    them, each under a name that is no server's: ``10-20-0-121=10.20.0.121``; they move with
    ``media_prefix``. ``live`` is Redis' ``address:port``. ``mirror_port`` and ``cli_port`` are on
    the loopback address, between agent and rtpengine alone. Without ``media_addresses`` nothing
    moves and nothing is mirrored.
    """

    media_address: str
    media_from: int = 20000
    media_to: int = 59999
    control_address: str = ""
    control_port: int = 2223
    announce_port: int = 5090
    keys_port: int = 2225
    admin_port: int = 7081
    recordings_dir: Path
    capacity: int = 2500
    managers: str = ""
    probe_port: int = 7101
    media_addresses: str = ""
    media_prefix: int = 32
    live: str = ""
    mirror_port: int = 6381
    cli_port: int = 2224

    @property
    def floating(self) -> tuple[Peer, ...]:
        """The cluster's floating media addresses, this server's first. Raises SettingsError."""
        found = parse_peers(self.media_addresses)
        return tuple(
            sorted(found, key=lambda peer: (peer.address != self.media_address, peer.name))
        )

    @property
    def home(self) -> str:
        """The name of this server's floating address; empty if it has none."""
        own = (peer.name for peer in self.floating if peer.address == self.media_address)
        return next(own, "")

    @property
    def floats(self) -> bool:
        """Whether this server's media address is one of them."""
        return bool(self.home)

    @property
    def redis(self) -> tuple[str, int]:
        """Where Redis is. Raises SettingsError."""
        return parse_live(self.live)

    @property
    def control(self) -> tuple[str, int]:
        """Where rtpengine takes commands."""
        return self.control_address or self.address, self.control_port

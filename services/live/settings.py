"""What a live-state server is told by its job."""

from __future__ import annotations

from pathlib import Path

from services.core.settings import Settings, parse_peers


class LiveSettings(Settings, frozen=True, kw_only=True):
    """``managers`` are the hosts of the live state, as ``cm1=10.20.0.11,cm2=10.20.0.12``.

    ``port`` is Redis'; clients use ``vip`` with it. ``memory`` in MiB; more is refused.
    Secret: ``live_password``.
    """

    managers: str = ""
    vip: str = ""
    vip6: str = ""
    probe_port: int = 7103
    port: int = 6380
    admin_port: int = 7083
    memory: int = 1024

    @property
    def hosts(self) -> dict[str, str]:
        """Name → address of every host of the live state. Raises SettingsError."""
        if not self.managers:
            return {self.server: self.address}
        return {peer.name: peer.address for peer in parse_peers(self.managers)}

    @property
    def home(self) -> Path:
        """Redis' own directory: its configuration and its append-only file."""
        return self.data_dir / "redis"

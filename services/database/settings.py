"""What a database server is told by its job."""

from __future__ import annotations

import hashlib
from pathlib import Path

from services.core.settings import Settings, parse_peers


class DatabaseSettings(Settings, frozen=True, kw_only=True):
    """``managers`` are the hosts of the cluster's database, as ``cm1=10.20.0.11,cm2=10.20.0.12``.

    ``port`` is PostgreSQL's, ``rest_port`` Patroni's. ``shared_buffers`` in MiB. Secrets:
    ``database_password`` (role pbx), ``database_superuser_password`` and
    ``database_replication_password``.
    """

    managers: str = ""
    vip: str = ""
    vip6: str = ""
    probe_port: int = 7102
    port: int = 5432
    rest_port: int = 8008
    admin_port: int = 7082
    shared_buffers: int = 256
    max_connections: int = 200

    @property
    def hosts(self) -> dict[str, str]:
        """Name → address of every host of the database. Raises SettingsError."""
        if not self.managers:
            return {self.server: self.address}
        return {peer.name: peer.address for peer in parse_peers(self.managers)}

    @property
    def home(self) -> Path:
        """Patroni's own directory: its configuration, PostgreSQL's data and passwords."""
        return self.data_dir / "patroni"

    @property
    def postgres_dir(self) -> Path:
        """PostgreSQL's data."""
        return self.home / "data"

    @property
    def rest(self) -> str:
        """Base URL of this host's Patroni."""
        return f"http://{bracketed(self.address)}:{self.rest_port}"

    def rest_password(self) -> str:
        """What Patroni wants to hear before it changes anything: made of the cluster key."""
        key = self.cluster_key()
        return hashlib.blake2s(b"patroni", key=key).hexdigest()


def bracketed(address: str) -> str:
    """An address as in URLs (RFC 3986 section 3.2.2)."""
    return f"[{address}]" if ":" in address else address

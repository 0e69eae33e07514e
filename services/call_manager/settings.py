"""What a Call Manager is told by its job."""

from __future__ import annotations

from pathlib import Path

from services.core.settings import Peer, Settings, parse_peers


class CallManagerSettings(Settings, frozen=True, kw_only=True):
    """``vip`` is the address phones and trunks come to; on one machine it may equal ``address``.

    ``database_url`` is SQLAlchemy's. ``capacity`` is simultaneous calls, ``workers`` Kamailio's UDP
    processes, ``shared_memory`` its shared memory in MiB. ``managers`` are all Call Managers, as
    ``cm1=10.20.0.11,cm2=10.20.0.12``, empty on one machine; ``dmq_port`` is where their Kamailios
    tell each other of registrations, ``probe_port`` (UDP) where they probe this agent.
    ``vip_prefix`` is the VIP's prefix length, ``vip6`` an IPv6 address that moves with it, as
    ``fd00::10/64``.
    """

    vip: str
    database_url: str
    sip_port: int = 5060
    tls_port: int = 5061
    wss_port: int = 8443
    admin_port: int = 7080
    capacity: int = 10000
    workers: int = 4
    shared_memory: int = 512
    managers: str = ""
    probe_port: int = 7100
    vip_prefix: int = 0
    vip6: str = ""
    dmq_port: int = 5066

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The other Call Managers."""
        return tuple(one for one in parse_peers(self.managers) if one.name != self.server)

    @property
    def own_database_url(self) -> str:
        """Where Kamailio's own tables are (SQLAlchemy's): with the rest where that is a file.

        Else in a file too: what Kamailio remembers is its own, and a dead database host must hold
        up no REGISTER and no start.
        """
        if self.database_url.startswith("sqlite"):
            return self.database_url
        return f"sqlite:///{self.data_dir.absolute() / 'kamailio.db'}"

    def database_password(self) -> str:
        """For a ``database_url`` that has none; empty for a file. Raises SettingsError."""
        if self.database_url.startswith("sqlite") or "@" not in self.database_url:
            return ""
        if not (self.secrets_dir / "database_password").exists() and not self.managers:
            return ""  # a database of one's own, that knows its users by other means
        return self.secret("database_password")

    @property
    def tables_dir(self) -> Path:
        """What the agent feeds to Kamailio's workers (LMDB)."""
        return self.data_dir / "tables"

    @property
    def spool_dir(self) -> Path:
        """Call events that DataFlow has not acknowledged."""
        return self.data_dir / "spool"

    @property
    def tls_dir(self) -> Path:
        """``cert.pem`` and ``key.pem`` of TLS and WSS."""
        return self.data_dir / "tls"

    @property
    def kamailio_rpc(self) -> Path:
        """Unix datagram socket of Kamailio's JSON-RPC."""
        return self.run_dir / "kamailio.sock"

    @property
    def events_socket(self) -> Path:
        """Unix datagram socket by which Kamailio's workers wake the agent."""
        return self.run_dir / "events.sock"

    @property
    def asks_socket(self) -> Path:
        """Unix datagram socket by which they ask it to tell phones of their voicemail boxes."""
        return self.run_dir / "asks.sock"

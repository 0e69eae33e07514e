"""What an IVR server is told by its job."""

from __future__ import annotations

from services.core.settings import Settings, parse_live

AUDIO_PORTS = 8
"""From ``audio_port`` on: four pairs, which all calls share."""


class IvrSettings(Settings, frozen=True, kw_only=True):
    """``vip`` and ``manager_port`` are where the Call Managers take calls, over UDP.

    ``sip_port`` is its own SIP, ``audio_port`` the first of `AUDIO_PORTS` UDP ports by which it
    exchanges sound with media servers; ``capacity`` is simultaneous calls. In a cluster:
    ``managers`` as `parse_peers` reads them and ``probe_port`` (UDP) for failure detection, and
    ``live``, Redis' ``address:port``, where calls are written down for other servers to go on with.
    """

    vip: str
    manager_port: int = 5060
    sip_port: int = 5070
    audio_port: int = 18000
    admin_port: int = 7082
    capacity: int = 1000
    managers: str = ""
    probe_port: int = 7104
    live: str = ""

    @property
    def redis(self) -> tuple[str, int] | None:
        """Where Redis is; None on one machine, which has none. Raises SettingsError."""
        return parse_live(self.live) if self.live else None

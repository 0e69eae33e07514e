"""What an IVR server is told by its job."""

from __future__ import annotations

from services.core.settings import Settings

AUDIO_PORTS = 8
"""From ``audio_port`` on: four pairs, which all calls share."""


class IvrSettings(Settings, frozen=True, kw_only=True):
    """``vip`` and ``manager_port`` are where the Call Managers take calls, over UDP.

    ``sip_port`` is its own SIP, ``audio_port`` the first of `AUDIO_PORTS` UDP ports by which it
    exchanges sound with media servers; ``capacity`` is simultaneous calls. In a cluster:
    ``managers`` as `parse_peers` reads them and ``probe_port`` (UDP) for failure detection.
    """

    vip: str
    manager_port: int = 5060
    sip_port: int = 5070
    audio_port: int = 18000
    admin_port: int = 7082
    capacity: int = 1000
    managers: str = ""
    probe_port: int = 7104

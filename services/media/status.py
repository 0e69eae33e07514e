"""What a media server knows of itself, and how it says so: pure."""

from __future__ import annotations

import msgspec

from services.core.admin import Health
from services.core.availability import Availability
from services.core.configuration import ENABLED, Switch
from services.core.discovery import TROUBLE, Check, Service, Status
from services.core.ng import Answer, dictionary
from services.media.rtpengine import host_port
from services.media.settings import MediaSettings

ROLE = "media"
TTL = 10.0
"""Seconds of the agent's silence until the registry takes the server for dead."""


class State(msgspec.Struct, kw_only=True):
    """Times in seconds, ``disk_free`` in bytes; ``recording_stopped`` says why, if it is.

    Where media addresses float: ``serving`` names those that are here, ``away`` the server that has
    this one's own, ``mirrored`` counts the sessions served here and the copies of others'.
    """

    capacity: int
    availability: Availability = Availability()
    failure: str = "not checked yet"
    echo: float = 0.0
    sessions: int = 0
    transcoded: int = 0
    packet_rate: int = 0
    switch: Switch = ENABLED
    recordings: int = 0
    unindexed: int = 0
    recording_stopped: str = ""
    disk_free: int = 0
    announcements: int = 0
    announcements_failed: str = ""
    floats: bool = False
    serving: tuple[str, ...] = ()
    at_home: bool = True
    away: str = ""
    sessions_ready: bool = True
    mirror_problem: str = ""
    mirrored: tuple[int, int] = (0, 0)
    handed_over: int = 0


def service(settings: MediaSettings, probe: str = "") -> Service:
    """How this server registers itself; the check is fed by `health`.

    ``probe`` is where Call Managers find out quickly whether it is there.
    """
    return Service(
        id=f"{settings.cluster}-{ROLE}-{settings.server}",
        name=ROLE,
        address=settings.address,
        port=settings.admin_port,
        tags=(
            settings.cluster,
            f"release-{settings.release}",
            f"capacity-{settings.capacity}",
        ),
        meta={
            "cluster": settings.cluster,
            "server": settings.server,
            "release": settings.release,
            "capacity": str(settings.capacity),
            "admin": f"http://{host_port(settings.address, settings.admin_port)}",
            "control": host_port(*settings.control),
            "announce": host_port(settings.address, settings.announce_port),
            "media_address": settings.media_address,
            # Name of its floating address, and who has it is a key of the registry's.
            **({"home": settings.home} if settings.home else {}),
            **({"probe": probe} if probe else {}),
        },
        checks=(Check(ttl=TTL, name="RTP echo"),),
    )


def troubled(registered: Service, state: State) -> Service:
    """The service as it is registered now: tagged while recording is stopped."""
    tags = tuple(tag for tag in registered.tags if tag != TROUBLE)
    if state.recording_stopped:
        tags = (*tags, TROUBLE)
    return msgspec.structs.replace(registered, tags=tags)


def read_load(state: State, statistics: Answer) -> None:
    """Takes the load from rtpengine's answer to ``statistics``."""
    current = dictionary(dictionary(statistics.get("statistics")).get("currentstatistics"))

    def number(name: str) -> int:
        value = current.get(name)
        return value if isinstance(value, int) else 0

    state.sessions = number("sessionsown")
    state.transcoded = number("transcodedmedia")
    state.packet_rate = number("packetrate")


def health(state: State, now: float) -> Health:
    """What ``/health`` shows. A full disk is a warning: calls go on."""
    told = (state.recording_stopped, state.announcements_failed, state.mirror_problem)
    found = [text for text in told if text]
    if not state.availability.up:
        waits = state.availability.waits(now)
        output = f"passes again, up in {waits:.0f} s" if waits else state.failure
        return Health("critical", output, found)
    output = f"RTP echo {state.echo * 1000:.1f} ms"
    if not state.at_home:
        # With the check passing, it is given its address back, and with it the sessions.
        if not state.sessions_ready:
            return Health("critical", f"{output}, waiting for the sessions of its address", found)
        output += f", its address is with {state.away or 'nobody'}"
    elif len(state.serving) > 1:
        output += f", serving {len(state.serving)} addresses"
    if state.switch.state == "draining":
        output += f", draining: {state.sessions} calls left"
        if state.floats:
            output += f", {state.handed_over} handed over"
    elif state.switch.state == "disabled":
        output += ", disabled by an administrator"
    return Health("warning" if found else "passing", output, found)


def report(state: State, now: float) -> tuple[Status, str]:
    """The same for the registry's check, which is passing or not: a warning there would take the
    server out of the balancer, and with it calls that nothing is wrong with."""
    found = health(state, now)
    status: Status = "critical" if found.status == "critical" else "passing"
    return status, "; ".join([found.output, *found.problems])

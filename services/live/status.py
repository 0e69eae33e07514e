"""What a live-state server knows of itself, and how it says so: pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from services.core.admin import Health
from services.core.configuration import ENABLED, Switch
from services.core.discovery import Check, Service
from services.live.following import Seen
from services.live.settings import LiveSettings

ROLE = "live"
TTL = 10.0
"""Seconds of the agent's silence until the registry takes the server for dead."""
LATE = 3.0
"""Seconds after which the last good check counts no more."""

Position = Literal["primary", "replica", ""]


class State(msgspec.Struct, kw_only=True):
    """``checked`` is when Redis last did its job, on a steady clock; ``took`` seconds, of a write.

    ``memory`` in bytes. ``unsaved`` says why the append-only file is not written, if it is not.
    """

    expected: int
    """Replicas that a primary should have."""
    holder: str = ""
    seen: Seen | None = None
    checked: float = float("-inf")
    took: float = 0.0
    memory: int = 0
    clients: int = 0
    failure: str = "not checked yet"
    unsaved: str = ""
    promoted: int = 0
    switch: Switch = ENABLED


def position(state: State) -> Position:
    """What this server is now; empty while that is not known."""
    if state.seen is None:
        return ""
    return "primary" if state.seen.primary else "replica"


def service(settings: LiveSettings, role: Position, probe: str) -> Service:
    """How this server registers itself while it is ``role``; ``probe`` is where it is probed."""
    host = f"[{settings.address}]" if ":" in settings.address else settings.address
    return Service(
        id=f"{settings.cluster}-{ROLE}-{settings.server}",
        name=ROLE,
        address=settings.address,
        port=settings.port,
        tags=(settings.cluster, f"release-{settings.release}", *((role,) if role else ())),
        meta={
            "cluster": settings.cluster,
            "server": settings.server,
            "release": settings.release,
            "admin": f"http://{host}:{settings.admin_port}",
            **({"probe": probe} if probe else {}),
        },
        checks=(Check(ttl=TTL, name="key written or replicated"),),
    )


def health(state: State, now: float) -> Health:
    """A primary takes a key and gives it back; a replica has its primary."""
    seen = state.seen
    problems = [state.unsaved] if state.unsaved else []
    if seen is None or now - state.checked > LATE:
        return Health("critical", state.failure or "Redis: no check since long", problems)
    megabytes = f"{state.memory / 1e6:.0f} MB"
    if seen.primary:
        replicas = "1 replica" if seen.replicas == 1 else f"{seen.replicas} replicas"
        output = f"primary, key written in {state.took * 1000:.1f} ms, {replicas}, {megabytes}"
        if seen.replicas < state.expected:
            problems.append(f"{state.expected - seen.replicas} of {state.expected} replicas away")
    else:
        output = f"replica of {state.holder or seen.follows}, {megabytes}"
    if state.switch.state != "enabled":
        output += f", {state.switch.state} by an administrator"
    return Health("warning" if problems else "passing", output, problems)


def metrics(state: State, now: float) -> dict[str, tuple[float, str]]:
    """What a live-state server measures of itself."""
    seen = state.seen or Seen()
    return {
        "pbx_live_up": (
            health(state, now).status != "critical",
            "1 while keys are written or replicated",
        ),
        "pbx_live_primary": (position(state) == "primary", "1 on the primary"),
        "pbx_live_replicas": (seen.replicas, "Replicas of this primary"),
        "pbx_live_write_seconds": (state.took, "Time of the last key written"),
        "pbx_live_memory_bytes": (state.memory, "Redis' memory"),
        "pbx_live_clients": (state.clients, "Connections to Redis"),
        "pbx_live_promotions_total": (state.promoted, "Times that this Redis became primary"),
    }

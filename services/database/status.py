"""What a database server knows of itself, and how it says so: pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from services.core.admin import Health
from services.core.configuration import ENABLED, Switch
from services.core.discovery import Check, Service
from services.database.placement import Members
from services.database.postgres import Found
from services.database.settings import DatabaseSettings, bracketed

ROLE = "database"
TTL = 10.0
"""Seconds of the agent's silence until the registry takes the server for dead."""
LATE = 5.0
"""Seconds after which the last good write, or the last replicated one, counts no more."""

Position = Literal["primary", "standby", ""]


class State(msgspec.Struct, kw_only=True):
    """Times are of one steady clock, in seconds.

    ``failure`` is why the last look failed, ``unwritten`` why the last write did.
    """

    expected: int
    """Standbys that a primary should have."""
    found: Found | None = None
    looked: float = float("-inf")
    written: float = float("-inf")
    took: float = 0.0
    failure: str = "not checked yet"
    unwritten: str = ""
    patroni: str = "not asked yet"
    leader: str = ""
    members: Members = Members()
    switch: Switch = ENABLED
    fenced: int = 0
    switchovers: int = 0


def position(state: State, now: float) -> Position:
    """What this server is now; empty if it is neither."""
    if state.found is None or now - state.looked > LATE:
        return ""
    return "primary" if state.found.primary else "standby"


def service(settings: DatabaseSettings, role: Position, probe: str) -> Service:
    """How this server registers itself while it is ``role``; ``probe`` is where it is probed."""
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
            "admin": f"http://{bracketed(settings.address)}:{settings.admin_port}",
            **({"probe": probe} if probe else {}),
        },
        checks=(Check(ttl=TTL, name="row written or replicated"),),
    )


def health(state: State, now: float) -> Health:
    """A primary writes rows, a standby gets them; a standby that is away is the others' warning."""
    found = state.found
    problems = [state.patroni] if state.patroni else []
    if found is None or now - state.looked > LATE:
        return Health("critical", state.failure or "PostgreSQL: no check since long", problems)
    if found.primary:
        if now - state.written > LATE:
            why = state.unwritten or "a write waits for its standbys"
            return Health("critical", f"primary, cannot write: {why}", problems)
        output = f"primary, {_count(found.standbys, 'standby', 'standbys')}"
        if found.standbys:
            output += f", lag {_bytes(found.lag)}"
        if found.standbys < state.expected:
            problems.append(f"{state.expected - found.standbys} of {state.expected} standbys away")
        elif found.synchronous < state.expected:
            problems.append(f"{found.synchronous} of {state.expected} standbys are synchronous")
    elif found.behind is None or not found.source:
        where = f" of {state.leader}" if state.leader else ""
        return Health("critical", f"standby{where}, receives nothing", problems)
    else:
        output = f"standby of {found.source}, {found.behind * 1000:.0f} ms behind"
        if found.age > LATE:
            problems.append(f"{found.source} has written nothing for {found.age:.0f} s")
    if state.switch.state != "enabled":
        output += f", {state.switch.state} by an administrator"
    return Health("warning" if problems else "passing", output, problems)


def metrics(state: State, now: float) -> dict[str, tuple[float, str]]:
    """What a database server measures of itself."""
    found = state.found or Found(primary=False)
    up = health(state, now).status != "critical"
    return {
        "pbx_database_up": (up, "1 while rows are written or replicated"),
        "pbx_database_primary": (position(state, now) == "primary", "1 on the primary"),
        "pbx_database_standbys": (found.standbys, "Standbys that stream from this primary"),
        "pbx_database_synchronous": (found.synchronous, "Standbys that a commit waits for"),
        "pbx_database_lag_bytes": (found.lag, "Most that a standby has yet to apply"),
        "pbx_database_behind_seconds": (found.behind or 0.0, "How far this standby is behind"),
        "pbx_database_write_seconds": (state.took, "Time of the last row written"),
        "pbx_database_fenced_total": (state.fenced, "Times that this primary had to be ended"),
        "pbx_database_switchovers_total": (state.switchovers, "Switchovers that were asked for"),
    }


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _bytes(number: int) -> str:
    if number < 10_000:
        return f"{number} B"
    return f"{number / 1_000_000:.1f} MB"

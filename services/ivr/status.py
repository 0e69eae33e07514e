"""What an IVR server knows of itself, and how it says so. Pure."""

from __future__ import annotations

import msgspec

from services.core.admin import Health
from services.core.availability import Availability
from services.core.configuration import ENABLED, Switch
from services.core.discovery import Check, Service, Status
from services.ivr.settings import IvrSettings

ROLE = "ivr"
TTL = 10.0
"""Seconds of silence until the registry takes the server for dead."""

TOLD = 600.0
"""Seconds for which it is told that calls were adopted."""


class State(msgspec.Struct, kw_only=True):
    """``answered`` is the seconds that the last check's call took until its sound was heard.

    ``problems`` are what else is wrong, by who found it. ``in_force`` is the manifest's digest.
    ``adopted`` counts calls of servers that are gone, ``adopted_at`` is when the last one came.
    ``left``: all calls were handed over, and none is taken until the switch is ``enabled`` again.
    """

    capacity: int
    availability: Availability = Availability()
    failure: str = "not checked yet"
    answered: float = 0.0
    calls: int = 0
    legs: int = 0
    served: int = 0
    switch: Switch = ENABLED
    in_force: str = ""
    adopted: int = 0
    adopted_at: float = float("-inf")
    left: bool = False
    problems: dict[str, str] = {}

    def tell(self, who: str, problem: str) -> None:
        """Note a problem, or that there is none."""
        if problem:
            self.problems[who] = problem
        else:
            self.problems.pop(who, None)


def host_port(address: str, port: int) -> str:
    """``address:port`` as in a URI."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def service(settings: IvrSettings, probe: str = "") -> Service:
    """How this server registers itself; the check is fed by `health`.

    ``sip`` is where Call Managers send calls, and by which they know its own; ``probe`` is where
    they find out quickly whether it is there.
    """
    return Service(
        id=f"{settings.cluster}-{ROLE}-{settings.server}",
        name=ROLE,
        address=settings.address,
        port=settings.admin_port,
        tags=(settings.cluster, f"release-{settings.release}"),
        meta={
            "cluster": settings.cluster,
            "server": settings.server,
            "release": settings.release,
            "capacity": str(settings.capacity),
            "admin": f"http://{host_port(settings.address, settings.admin_port)}",
            "sip": host_port(settings.address, settings.sip_port),
            **({"probe": probe} if probe else {}),
        },
        checks=(Check(ttl=TTL, name="SIP INVITE"),),
    )


def health(state: State, now: float) -> Health:
    """What ``/health`` shows; ``now`` is of the clock of `Availability`."""
    found = list(state.problems.values())
    if not state.availability.up:
        waits = state.availability.waits(now)
        output = f"passes again, up in {waits:.0f} s" if waits else state.failure
        return Health("critical", output, found)
    output = f"SIP INVITE {state.answered * 1000:.0f} ms"
    if not state.in_force:
        return Health("critical", f"{output}, no configuration yet", found)
    if now < state.adopted_at + TOLD:
        output += f", {state.adopted} calls adopted"
    if state.switch.state == "draining":
        output += f", draining: {state.calls} calls left"
    elif state.switch.state == "disabled":
        output += ", disabled by an administrator"
    return Health("warning" if found else "passing", output, found)


def report(state: State, now: float) -> tuple[Status, str]:
    """The same for the registry's check: a warning there would take the server out."""
    found = health(state, now)
    status: Status = "critical" if found.status == "critical" else "passing"
    return status, "; ".join([found.output, *found.problems])


def metrics(state: State) -> dict[str, tuple[float, str]]:
    """What an IVR server measures of itself."""
    return {
        "pbx_ivr_up": (state.availability.up, "1 while the check's call is answered and heard"),
        "pbx_ivr_answer_seconds": (state.answered, "Time from INVITE to sound of the last check"),
        "pbx_ivr_calls": (state.calls, "Calls that are up"),
        "pbx_ivr_legs": (state.legs, "Calls that hear this server"),
        "pbx_ivr_served_total": (state.served, "Calls since the start"),
        "pbx_ivr_adopted_total": (state.adopted, "Calls of other servers that it went on with"),
        "pbx_ivr_capacity": (state.capacity, "Calls it is meant for"),
    }

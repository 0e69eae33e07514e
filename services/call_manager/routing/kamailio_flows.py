"""Finds the connections of phones, over KSR, and waits for those that are about to come back."""

from __future__ import annotations

import KSR

from services.call_manager.routing import flows
from services.call_manager.routing import kamailio_cluster as cluster
from services.call_manager.routing.flows import Flow
from services.call_manager.routing.target_signature import Target
from services.call_manager.routing.worker import now

STREAMS = flows.STREAMS
PATIENCE = 8
"""Seconds that a request waits for its target: phones connect again within a few."""


def of_user(aor: str) -> list[Flow]:
    """The bindings of an address of record that came over a connection."""
    return flows.current(_bindings(aor), cluster.away())


def lost(aor: str) -> list[str]:
    """The unique ids of those whose connection is not here any more, oldest first."""
    gone = [flow for flow in _bindings(aor) if not flow.alive]
    return [flow.unique for flow in sorted(gone, key=lambda flow: flow.registered)]


def _bindings(aor: str) -> list[Flow]:
    if KSR.registrar.reg_fetch_contacts("location", aor, "flow") < 0:
        return []
    found: list[Flow] = []
    for index in range(int(KSR.pv.get("$(ulc(flow=>count))") or 0)):
        received = KSR.pv.gete(f"$(ulc(flow=>received)[{index}])")
        expires = int(KSR.pv.get(f"$(ulc(flow=>expires)[{index}])") or 0)
        # What was removed or has run out stays in memory until it is written down.
        if ";transport=" not in received.lower() or 0 < expires <= now():
            continue
        connection = int(KSR.pv.get(f"$(ulc(flow=>conid)[{index}])") or 0)
        alive = connection > 0 and KSR.tcpops.tcp_conid_alive(connection) > 0
        found.append(
            Flow(
                KSR.pv.gete(f"$(ulc(flow=>addr)[{index}])"),
                received,
                alive,
                int(KSR.pv.get(f"$(ulc(flow=>modified)[{index}])") or 0),
                KSR.pv.gete(f"$(ulc(flow=>instance)[{index}])"),
                max(0, connection),
                KSR.pv.gete(f"$(ulc(flow=>ruid)[{index}])"),
            )
        )
    KSR.registrar.reg_free_contacts("flow")
    return found


def to(target: Target, user: str) -> str | None:
    """Where a phone is now, ``user`` being its ``tenant/extension``; None: it has no connection.

    "" where there is no more to be known than the target says.
    """
    if target.source.transport not in STREAMS or target.kind != "p" or not user:
        return ""
    tenant, _, extension = user.partition("/")
    return flows.choose(target, of_user(f"sip:{extension}@{tenant}"))


def wait(then: str) -> bool:
    """Suspend the request for a second and go on with callback ``then``; False: not any longer."""
    waited = int(KSR.pv.get("$avp(waited)") or 0)
    if not cluster.SEVERAL or waited >= PATIENCE:
        return False
    KSR.pv.unset("$avp(waited)")
    KSR.pv.seti("$avp(waited)", waited + 1)
    # The module has the name of a keyword.
    getattr(KSR, "async").route(then, 1)
    return True

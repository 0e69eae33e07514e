"""What is well and what is not, from what the Call Manager sees: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from services.call_manager.alerts.incidents import Observation
from services.call_manager.state import TrunkState
from services.core.configuration import ENABLED, Switch
from services.core.discovery import TROUBLE, Instance

SERVER_PATIENCE = 1.0
TROUBLE_PATIENCE = 10.0
DATABASE_PATIENCE = 30.0
"""Seconds: a primary that dies has a successor in 4, in 20 at worst."""
TRUNK_PATIENCE = 300.0
SILENT = "does not answer the Call Managers' probes"

Place = tuple[str, str]
"""Role and server."""


def servers(
    instances: Iterable[Instance], down: Collection[Place], switches: Mapping[Place, Switch]
) -> dict[str, Observation]:
    """Every role of every server, and what troubles those that do their job all the same.

    ``down``: those that a majority of Call Managers cannot reach.
    """
    found: dict[str, Observation] = {}
    for instance in instances:
        name = instance.meta.get("server", "")
        place = (instance.name, name)
        switched = switches.get(place, ENABLED).state != "enabled"
        if switched:
            seen = Observation(condition="off")
        elif place in down:
            seen = Observation(condition="ill", reason=SILENT, patience=SERVER_PATIENCE)
        elif instance.status == "critical":
            reason = instance.output or "its check does not pass"
            seen = Observation(condition="ill", reason=reason, patience=SERVER_PATIENCE)
        else:
            seen = Observation(condition="well")
        found[f"server/{instance.name}/{name}"] = seen
        trouble = Observation(condition=seen.condition)
        if seen.condition == "ill":
            # Its trouble is not over by that.
            trouble = Observation(condition="unknown")
        elif seen.condition == "well" and TROUBLE in instance.tags:
            reason, patience = instance.output, TROUBLE_PATIENCE
            trouble = Observation(condition="ill", reason=reason, patience=patience)
        found[f"trouble/{instance.name}/{name}"] = trouble
    return found


def shared(
    trunks: Mapping[str, TrunkState], database: str, *, trunk_patience: float = TRUNK_PATIENCE
) -> dict[str, Observation]:
    """What the cluster has one of, as the VIP's holder sees it. ``database`` is its problem."""
    found = {
        "database": Observation(
            condition="ill" if database else "well", reason=database, patience=DATABASE_PATIENCE
        )
    }
    for name, trunk in trunks.items():
        reason = trunk_trouble(trunk)
        found[f"trunk/{name}"] = Observation(
            condition="ill" if reason else "well", reason=reason, patience=trunk_patience
        )
    return found


def trunk_trouble(trunk: TrunkState) -> str:
    """Why a trunk carries no calls, as far as can be known; empty if it does."""
    if trunk.registration not in ("none", "registered"):
        problem = f"; OPTIONS: {trunk.options_problem}" if trunk.options_problem else ""
        return f"not registered ({trunk.registration}){problem}"
    return f"does not answer OPTIONS: {trunk.options_problem}" if trunk.options_problem else ""

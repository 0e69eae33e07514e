"""Which servers of a role may go on with calls of others. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from services.core.configuration import ENABLED, Switch
from services.core.discovery import Instance


def members(instances: Iterable[Instance], cluster: str) -> dict[str, Instance]:
    """The cluster's own of a service's instances, by server."""
    return {
        instance.meta["server"]: instance
        for instance in instances
        if instance.meta.get("cluster") == cluster and "server" in instance.meta
    }


def candidates(
    known: Mapping[str, Instance], down: Collection[str], switches: Mapping[str, Switch]
) -> tuple[str, ...]:
    """Servers whose checks pass, that are not ``down`` and that the administrator left enabled.

    ``down`` are servers of the same role; ``switches`` is by server.
    """
    return tuple(
        server
        for server, instance in sorted(known.items())
        if instance.passing
        and server not in down
        and switches.get(server, ENABLED).state == "enabled"
    )

"""Debian packages (bookworm) that a host needs, by what it is for."""

from __future__ import annotations

from collections.abc import Collection

BASE = ("python3.11", "python3.11-venv", "iproute2")
"""Every host."""

PACKAGES = {
    "call-manager": (
        "kamailio",
        "kamailio-python3-modules",
        "kamailio-sqlite-modules",
        "kamailio-postgres-modules",
        "kamailio-websocket-modules",
        "kamailio-tls-modules",
        "kamailio-utils-modules",
        "kamailio-json-modules",
        "kamailio-extra-modules",
        "kamailio-outbound-modules",
    ),
    "media": ("rtpengine-daemon", "espeak-ng"),
    "ivr": ("espeak-ng",),
    "database": ("postgresql-15", "patroni", "python3-consul"),
    "live": ("redis-server",),
}

OWN_SERVICES = {
    "call-manager": ("kamailio",),
    "media": ("rtpengine-daemon",),
    "database": ("postgresql", "patroni"),
    "live": ("redis-server",),
}
"""What the packages would start by themselves; here Nomad does."""


def packages(roles: Collection[str]) -> list[str]:
    """What to install, sorted."""
    return sorted({*BASE, *(one for role in roles for one in PACKAGES.get(role, ()))})


def masked(roles: Collection[str]) -> list[str]:
    """Units that must not start."""
    return sorted({one for role in roles for one in OWN_SERVICES.get(role, ())})

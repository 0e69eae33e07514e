"""The configuration of a `Signalling` cluster: one tenant, its users, two carriers."""

from __future__ import annotations

from collections.abc import Mapping

from services.core.configuration import (
    Alerts,
    Cluster,
    Destination,
    Manifest,
    NumberPlan,
    RingGroup,
    RingMember,
    Route,
    RouteTrunk,
    Tenant,
    Trunk,
    User,
    digest,
    encode,
)
from services.core.menus import Menu
from tests.support.kamailio import user

CLUSTER = "sig"
DOMAIN = "sales.example"
USERS = tuple(str(2000 + n) for n in range(1, 41))
RECORDED, SINGLE = "2008", "2009"
"""A user whose calls are recorded, and one who may have one call."""
CALLS, CHANNELS = 50, 3
"""Calls at a time that the tenant may have, and that carrier ``udp`` takes."""


def users() -> list[User]:
    return [
        user(
            name,
            permission="national",
            max_calls=1 if name == SINGLE else 9,
            record=name == RECORDED,
        )
        for name in USERS
    ]


def documents(
    udp: str,
    tcp: str,
    menus: Mapping[str, Menu],
    alerts: Alerts,
    calls: int = CALLS,
    channels: int = CHANNELS,
) -> dict[str, bytes]:
    """By key, the manifest last; ``udp`` and ``tcp`` are the carriers' addresses.

    ``menus`` are by the extension by which users reach them, others by +4930100 and that.
    """
    members = tuple(RingMember(extension=name, priority=1) for name in USERS[1:3])
    tenant = Tenant(
        name="sales",
        domains=(DOMAIN,),
        max_calls=calls,
        main_number="+4930100",
        plan=NumberPlan(country="49", international="00", national="0"),
        ring_groups={
            "both": RingGroup(members=members, strategy="simultaneous", timeout=30),
            "turn": RingGroup(members=members, strategy="sequential", timeout=4),
        },
        menus={menu.name: extension for extension, menu in menus.items()},
    )
    trunks = (
        Trunk(name="udp", host=udp, addresses=(udp,), channels=channels, options_interval=0),
        Trunk(name="tcp", host=tcp, addresses=(tcp,), transport="tcp", options_interval=0),
    )
    numbers = {
        f"+4930100{n}": Destination(kind="extension", target=str(2000 + n)) for n in range(1, 4)
    } | {
        f"+4930100{extension}": Destination(kind="menu", target=menu.name)
        for extension, menu in menus.items()
    }
    found = {
        "cluster": encode(Cluster(name=CLUSTER, alerts=alerts)),
        "routes": encode(
            [Route(name="german", match=("+49*",), trunks=(RouteTrunk(trunk="udp"),))]
        ),
        "tenants/sales": encode(tenant),
        "numbers/sales/0": encode(numbers),
        **{f"trunks/{trunk.name}": encode(trunk) for trunk in trunks},
        **{f"menus/sales/{menu.name}": encode(menu) for menu in menus.values()},
    }
    digests = {name: digest(raw) for name, raw in found.items()}
    manifest = Manifest(spec_hash="0" * 64, release="1", documents=digests)
    return {**found, "manifest": encode(manifest)}

"""A small PBX as tables, for unit tests of routing."""

from __future__ import annotations

from services.call_manager.routing.call import Authority, Caller, Request
from services.call_manager.tables import MemoryTables, Number, Picture
from services.core.configuration import (
    Cluster,
    Destination,
    DestinationKind,
    NumberPlan,
    Permission,
    RingGroup,
    RingMember,
    Route,
    RouteTrunk,
    Tenant,
    Trunk,
    User,
)

PLAN = NumberPlan(country="49", international="00", national="0")
TRUNKS = (
    Trunk(name="a", host="192.0.2.1", addresses=("192.0.2.0/28", "2001:db8::/64")),
    Trunk(name="b", host="192.0.2.2", strip_plus=True),
)


def destination(kind: DestinationKind, target: str) -> Destination:
    return Destination(kind=kind, target=target)


ROUTES = (
    Route(name="emergency", match=("112",), trunks=(RouteTrunk(trunk="a"),), always=True),
    Route(
        name="home",
        match=("+49*",),
        trunks=(RouteTrunk(trunk="b", cost=2), RouteTrunk(trunk="a", cost=1)),
    ),
    Route(name="berlin", match=("+4930*",), trunks=(RouteTrunk(trunk="b"),), strip=2, prepend="0"),
    Route(name="world", match=("+*",), trunks=(RouteTrunk(trunk="a"),), tenants=("sales",)),
)


def group(*members: tuple[str, int], strategy: str = "simultaneous", **more: object) -> RingGroup:
    return RingGroup(
        members=tuple(RingMember(extension=e, priority=p) for e, p in members),
        strategy=strategy,  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )


def tables(
    *users: User,
    groups: dict[str, RingGroup] | None = None,
    numbers: dict[str, Destination] | None = None,
    emergency: tuple[str, ...] = (),
    plan: NumberPlan = PLAN,
) -> MemoryTables:
    sales = Tenant(
        name="sales",
        domains=("sales.example",),
        main_number="+4930100",
        plan=plan,
        ring_groups=groups or {},
        emergency=emergency,
    )
    other = Tenant(name="other", domains=("other.example",), main_number="+4940200", plan=PLAN)
    owned = {n: Number(tenant="sales", destination=d) for n, d in (numbers or {}).items()}
    owned["+49402001"] = Number(tenant="other", destination=destination("extension", "1"))
    picture = Picture(
        cluster=Cluster(name="c"),
        routes=ROUTES,
        tenants=(sales, other),
        trunks=TRUNKS,
        numbers=owned,
    )
    return MemoryTables(picture, [*users, User(tenant="other", extension="1")])


def user(extension: str, **more: object) -> User:
    return User(tenant="sales", extension=extension, **more)  # type: ignore[arg-type]


def request(dialled: str, permission: Permission = "national", **more: object) -> Request:
    """A call of extension 1 of tenant sales."""
    return Request(
        caller=Caller("sales", "1", "", "+4930100", "One"),
        authority=Authority("sales", "1", permission, "+4930100"),
        dialled=dialled,
        **more,  # type: ignore[arg-type]
    )


def inbound(dialled: str) -> Request:
    return Request(caller=Caller(trunk="a", number="+491701"), authority=None, dialled=dialled)

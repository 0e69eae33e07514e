"""The database's primary goes with the VIP, so that writes are local: pure.

Only ever a planned switchover between two that are well and in step; a failover is Patroni's.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SETTLED = 10.0
"""Seconds that the VIP and the primary must have stayed where they are."""
AGAIN = 60.0
"""Seconds after a switchover was asked for until the next."""

Role = Literal["leader", "sync_standby", "replica", "other"]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One of Patroni's members; ``lag`` in bytes, None if it is not known."""

    name: str
    role: Role
    state: str
    timeline: int = 0
    lag: int | None = None

    @property
    def well(self) -> bool:
        """Whether it runs; what Patroni calls so differs with the role and the release."""
        return self.state in ("running", "streaming")


class Members(msgspec.Struct, frozen=True, kw_only=True):
    """Patroni's picture. ``busy``: paused by somebody, or a switchover is on its way."""

    members: tuple[Member, ...] = ()
    busy: bool = False

    @property
    def leader(self) -> Member | None:
        """The primary, if there is one."""
        return next((each for each in self.members if each.role == "leader"), None)

    def member(self, name: str) -> Member | None:
        """By name."""
        return next((each for each in self.members if each.name == name), None)


class Sync(msgspec.Struct, frozen=True, kw_only=True):
    """Patroni's key ``sync``: who may take over from ``leader``; names by commas."""

    leader: str | None = None
    sync_standby: str | None = None


def promises(body: bytes, me: str, *, waits: bool) -> bytes | None:
    """What Patroni's key ``sync`` has to be replaced by; None if it may stay.

    A Patroni 3.0 that is started anew beside a running primary empties PostgreSQL's
    ``synchronous_standby_names`` and leaves the key: nothing is waited for (not ``waits``), and
    who may take over may lack what was acknowledged. With nobody in the key it chooses again, in
    its own safe order. Raises msgspec.DecodeError.
    """
    found = msgspec.json.decode(body, type=Sync)
    if waits or found.leader != me or not found.sync_standby:
        return None
    return msgspec.json.encode(Sync(leader=me))


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds the VIP and who is primary, and since when; ``asked`` is the last switchover."""

    vip: str = ""
    vip_since: float = float("-inf")
    leader: str = ""
    leader_since: float = float("-inf")
    asked: float = float("-inf")

    def after(self, vip: str, leader: str, now: float) -> Placement:
        """After one more look; empty names are unknown ones, and count as a change."""
        return Placement(
            vip=vip,
            vip_since=self.vip_since if vip == self.vip else now,
            leader=leader,
            leader_since=self.leader_since if leader == self.leader else now,
            asked=self.asked,
        )

    def wants(self, me: str, found: Members, now: float) -> bool:
        """Whether ``me`` should ask to become primary; then say so with `asking`."""
        leader, own = found.leader, found.member(me)
        return (
            self.vip == me
            and self.leader not in ("", me)
            and now - max(self.vip_since, self.leader_since) >= SETTLED
            and now - self.asked >= AGAIN
            and not found.busy
            and leader is not None
            and leader.name == self.leader
            and leader.well
            and own is not None
            and own.role == "sync_standby"
            and own.well
            and own.timeline == leader.timeline
            and own.lag == 0
        )

    def asking(self, now: float) -> Placement:
        """After a switchover was asked for."""
        return msgspec.structs.replace(self, asked=now)

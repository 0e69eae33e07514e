"""When a primary that does nothing any more must be ended, so that another can begin: pure.

Patroni's session in Consul outlives Patroni by 10 to 20 s on a living host, for Consul's least TTL
is 10 s; and what is stopped rather than dead may wake up as a second primary. So its agent kills
PostgreSQL first and only then destroys the session.
"""

from __future__ import annotations

import msgspec

PATRONI = 8.0
"""Seconds of Patroni's silence: its engine starts it again in 2 to 3, and nothing has happened."""
POSTGRES = 10.0
"""Seconds of PostgreSQL's silence, Patroni there: its `primary_start_timeout` comes first."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one look found. ``holds``: the leader key names this server.

    ``postgres``: it said something, if only that it refuses, or there is none to say anything: that
    is Patroni's business. What this is about is one that is there and silent.
    """

    holds: bool
    patroni: bool
    postgres: bool


class Fencing(msgspec.Struct, frozen=True, kw_only=True):
    """Since when something has been silent while we were the primary; times of a steady clock."""

    patroni_since: float | None = None
    postgres_since: float | None = None

    def after(self, look: Look, now: float) -> Fencing:
        """The state after one more look."""
        if not look.holds:
            return Fencing()
        return Fencing(
            patroni_since=None if look.patroni else _first(self.patroni_since, now),
            postgres_since=None if look.postgres else _first(self.postgres_since, now),
        )

    def reason(self, now: float) -> str:
        """Why to fence, for people; empty while there is none."""
        if self.patroni_since is not None and now - self.patroni_since >= PATRONI:
            return f"Patroni has not answered for {now - self.patroni_since:.0f} s"
        if self.postgres_since is not None and now - self.postgres_since >= POSTGRES:
            return f"PostgreSQL has not answered for {now - self.postgres_since:.0f} s"
        return ""


def _first(since: float | None, now: float) -> float:
    return now if since is None else since

"""Whom this Redis follows: pure. The VIP's holder is the primary, for clients are sent there."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a Redis says of itself; ``follows`` is its primary's address, empty if it is one.

    ``link``: what it follows answers. ``replicas`` are those that follow it.
    """

    follows: str = ""
    link: bool = False
    replicas: int = 0

    @property
    def primary(self) -> bool:
        """Whether it takes writes."""
        return not self.follows


class Promote(msgspec.Struct, frozen=True):
    """Take writes, with the data there is."""


class Follow(msgspec.Struct, frozen=True):
    """Become a replica of ``address``, and send clients away if it was primary till now."""

    address: str
    cut: bool


Command = Promote | Follow


def command(me: str, holder: str, hosts: Mapping[str, str], seen: Seen) -> Command | None:
    """What to tell this host's Redis; None if it is what it should be.

    ``holder`` is who has the VIP, or had it last: while nobody has it everything stays. ``hosts``
    are addresses by name.
    """
    if holder == me:
        return None if seen.primary else Promote()
    address = hosts.get(holder)
    if address is None or seen.follows == address:
        return None
    return Follow(address, cut=seen.primary)

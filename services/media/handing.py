"""When a media server hands an address over, and to whom: pure. Times are monotonic seconds."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from services.core.discovery import Instance

GIVE_BACK = 4.0
"""Seconds for which an address' own server must have said that it is well until it gets it back."""
AGAIN = 15.0
"""Seconds after a hand-over that failed: each try is a short silence."""


class Fleet:
    """The other media servers: as the registry shows them, and as they say themselves.

    The registry tells of a death after seconds only, so nothing is handed to a server that has not
    just said that it is well; and it says so only if it has all sessions.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._passing: set[str] = set()
        self._owners: dict[str, str] = {}
        self._admin: dict[str, str] = {}
        self._well: dict[str, float] = {}
        self.switches: dict[str, str] = {}
        """Servers that an administrator has not enabled, and how they are switched."""

    def see(self, instances: Iterable[Instance]) -> None:
        """Take the registry's picture."""
        known = list(instances)
        self._passing = {i.meta.get("server", "") for i in known if i.passing}
        self._owners = {i.meta.get("home", ""): i.meta.get("server", "") for i in known}
        self._admin = {i.meta.get("server", ""): i.meta.get("admin", "") for i in known}

    def admin(self, server: str) -> str:
        """The URL of a server's agent; empty if it is not known."""
        return self._admin.get(server, "")

    def said(self, server: str, well: bool, now: float) -> None:
        """A server was asked how it is; no answer is no good one."""
        if well and not self.switched_off(server):
            self._well.setdefault(server, now)
        else:
            self._well.pop(server, None)

    def forget(self, servers: Iterable[str]) -> None:
        """These are not asked any more: what they said means nothing later on."""
        for server in servers:
            self._well.pop(server, None)

    def well_for(self, server: str, now: float) -> float:
        """Seconds for which a server has said without a break that it is well; 0 if it does not."""
        return max(now - self._well[server], 1e-9) if server in self._well else 0.0

    def owner(self, home: str) -> str:
        """The server whose own address a home is; empty if none of those that are known."""
        return self._owners.get(home, "")

    def rank(self, home: str) -> int:
        """How many servers come before this one to take a home over: others for each home.

        Its own is not among them: that it cannot is why it is to be taken.
        """
        names = sorted({*self._passing, self._server} - {self.owner(home)} | {self._server})
        start = crc32(home.encode()) % len(names)
        return (names.index(self._server) - start) % len(names)

    def switched_off(self, server: str) -> bool:
        """Whether an administrator wants the server without work."""
        return self.switches.get(server, "enabled") != "enabled"

    def others(self) -> list[str]:
        """Servers that could take an address, if they are asked first, by name."""
        wanted = self._passing - {self._server}
        return sorted(server for server in wanted if not self.switched_off(server))


class Handing:
    """What to do with an address that is held here."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._not_before: dict[str, float] = {}

    def candidate(self, home: str, fleet: Fleet, now: float) -> str:
        """Who might get a home that is held here, and is to be asked how it is; empty: nobody."""
        if now < self._not_before.get(home, now):
            return ""
        owner = fleet.owner(home)
        others = fleet.others()
        if owner in others:
            return owner
        if not others or not fleet.switched_off(self._server):
            return ""
        # Different addresses to different servers, the same one each time.
        return others[crc32(home.encode()) % len(others)]

    def due(self, candidate: str, fleet: Fleet, now: float) -> bool:
        """Whether the candidate is to have it now."""
        well = fleet.well_for(candidate, now)
        return well >= GIVE_BACK or (well > 0 and fleet.switched_off(self._server))

    def failed(self, home: str, now: float) -> None:
        """Nobody has taken it."""
        self._not_before[home] = now + AGAIN

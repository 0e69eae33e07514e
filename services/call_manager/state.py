"""What the agent knows at this moment, for its watchers and its HTTP side alike."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from services.call_manager.assembly import Assembled
from services.call_manager.health import Checks
from services.call_manager.tables import AppServer, MediaServer, Picture
from services.call_manager.trunks import RegistrationState
from services.core.configuration import ENABLED, Switch

LASTING = 2.0
"""Seconds that a state may last which passes by itself as a rule."""


class TrunkState(msgspec.Struct, frozen=True, kw_only=True):
    """A trunk as it is seen from here. ``options`` is the last answer's status, 0 for none."""

    registration: RegistrationState = "none"
    options: int = 0
    options_ms: float = 0.0
    options_problem: str = ""


class Kamailio(msgspec.Struct, frozen=True, kw_only=True):
    """Kamailio's own figures, 0 where it does not tell. Memory in bytes, ``uptime`` in s."""

    running: bool = False
    uptime: int = 0
    contacts: int = 0
    users: int = 0
    shared_memory: int = 0
    shared_memory_used: int = 0
    dialogs: int = 0
    early_dialogs: int = 0
    statistics: Mapping[str, int] = {}


class State(msgspec.Struct, kw_only=True):
    """``problems`` are what health tells, by who found them; of some ``begun`` says since when.
    ``holder``: calls come to this Call Manager. ``switches`` and ``loads`` are media servers', by
    server; ``switched`` are all switches there are, by role and server; ``app_loads`` are by
    `AppServer.key`. ``led_anew`` counts calls whose media were led to another
    server by re-INVITE, ``not_led`` the attempts that failed.
    """

    assembled: Assembled = Assembled(problems=("the registry has not been read yet",))
    picture: Picture | None = None
    in_force: str = ""
    spec_hash: str = ""
    release: str = ""
    generation: int = 0
    media: tuple[MediaServer, ...] = ()
    apps: tuple[AppServer, ...] = ()
    loads: dict[str, int] = {}
    app_loads: dict[str, int] = {}
    switches: dict[str, Switch] = {}
    switched: dict[tuple[str, str], Switch] = {}
    own_switch: Switch = ENABLED
    trunks: dict[str, TrunkState] = {}
    kamailio: Kamailio = Kamailio()
    checks: Checks = msgspec.field(default_factory=Checks)
    holder: bool = True
    led_anew: int = 0
    not_led: int = 0
    problems: dict[str, str] = {}
    begun: dict[str, float] = {}

    def tell(self, who: str, problem: str, *, since: float | None = None) -> None:
        """Note a problem, or that there is none.

        With ``since`` (monotonic seconds) it counts once `LASTING` s have passed without a word
        that it is over; told again meanwhile, it goes on from when it began.
        """
        if not problem:
            self.problems.pop(who, None)
            self.begun.pop(who, None)
            return
        if since is None:
            self.begun.pop(who, None)
        elif who not in self.problems:
            self.begun[who] = since
        self.problems[who] = problem

    def told(self, now: float) -> dict[str, str]:
        """The problems that count at ``now``, by who found them."""
        return {
            who: problem
            for who, problem in self.problems.items()
            if who not in self.begun or now >= self.begun[who] + LASTING
        }

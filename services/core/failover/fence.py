"""Notices at once that this server's lease is over: others may have its work from then on.

A process that was stopped, or waited for a disk, goes on where it was; so the lease is looked at
before each step of each task, and what is left is the rest of one step.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from services.core.failover.clock import now
from services.core.failover.lease import ANY
from services.core.failover.responder import Responder

TICK = 0.025
"""Seconds between looks when nothing else happens."""


def _ignore(until: float) -> None:
    pass


class Fence(trio.abc.Instrument):
    """``lost`` is called when the lease has ended, ``renewed`` with the end of a longer one.

    Seconds of `clock`. Neither may wait or raise. Where nobody probes, nothing is ever lost.
    """

    def __init__(
        self,
        responder: Responder,
        lost: Callable[[], None],
        renewed: Callable[[float], None] = _ignore,
    ) -> None:
        self._responder = responder
        self._lost = lost
        self._renewed = renewed
        self._until = self._since = float("-inf")
        self._held = not responder.member.managers
        if not self._held:
            responder.fence = self

    @property
    def held(self) -> bool:
        """Whether there is a lease."""
        self.look()
        return self._held

    def held_for(self, seconds: float) -> bool:
        """Whether there has been a lease for so long, on end."""
        return self.held and now() >= self._since + seconds

    def look(self) -> None:
        """Notice that it has ended."""
        if self._held and self._until <= now() and self._responder.member.managers:
            self._held = False
            self._lost()

    def granted(self) -> None:
        """A manager has acknowledged; to be preceded by `look`."""
        until = self._responder.lease.until(ANY)
        time = now()
        if until > max(self._until, time):
            if not self._held:
                self._since = time
            self._until, self._held = until, True
            self._renewed(until)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - trio's
        """See `trio.abc.Instrument`."""
        self.look()

    async def run(self) -> None:
        """Look, for ever."""
        trio.lowlevel.add_instrument(self)
        try:
            while True:
                self.look()
                await trio.sleep(TICK)
        finally:
            trio.lowlevel.remove_instrument(self)

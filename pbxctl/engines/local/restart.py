"""Whether and when a task that ended runs again: pure.

Source: Nomad's documentation, "restart Block"; `Tracker.ended` is its client's rule.
"""

from __future__ import annotations

import msgspec

from pbxctl.engines.local.jobfile.model import Restart

JITTER = 0.25
"""Part of the delay that is added at random at most, so that neighbours do not start together."""


class Again(msgspec.Struct, frozen=True):
    """Start it after ``delay`` seconds."""

    delay: float


class Completed(msgspec.Struct, frozen=True):
    """It has done what it was for."""


class GaveUp(msgspec.Struct, frozen=True):
    """It failed more often than its policy allows."""

    reason: str


Decision = Again | Completed | GaveUp


class Tracker(msgspec.Struct, frozen=True, kw_only=True):
    """``count`` ends since ``window`` (seconds on the caller's clock), when its interval began."""

    count: int = 0
    window: float = 0.0

    def ended(
        self,
        policy: Restart,
        now: float,
        jitter: float,
        *,
        well: bool,
        to_completion: bool = False,
    ) -> tuple[Tracker, Decision]:
        """The tracker after an end at ``now``, and what to do. ``jitter`` is from 0 to 1.

        A service that ends well is restarted all the same; what was to run to completion is not.
        """
        if well and to_completion:
            return self, Completed()
        fresh = self.count == 0 or now - self.window > policy.interval
        tracker = Tracker(
            count=1 if fresh else self.count + 1, window=now if fresh else self.window
        )
        if tracker.count <= policy.attempts:
            return tracker, Again(policy.delay * (1 + JITTER * jitter))
        if policy.mode == "fail":
            reason = f"it ended {tracker.count} times within {policy.interval:g} s"
            return tracker, GaveUp(reason)
        return tracker, Again(max(tracker.window + policy.interval - now, policy.delay))
